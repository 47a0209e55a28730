"""A sibling is asked before the store, and whatever it does, the bot is loaded."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from botshard.sharding.ids import BotId, Epoch
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.catalog import CatalogStore
from botshard.store.contents import Origin
from botshard.store.reports import ReplicaReport, write_report
from kserve_runtimes.core.siblings import Siblings
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, pool_of
from tests.kserve_runtimes.strange_siblings import StrangeSibling, answer
from tests.servers import free_port
from tests.waiting import eventually

POOL = pool_of("realtime", "torch")
CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def _report(url: str | None, *, replica: str = "r-2", ready: bool = True, age_s: float = 0.0) -> ReplicaReport:
    return ReplicaReport(
        pool=POOL,
        replica=replica,
        epoch=Epoch(1),
        catalog_revision=1,
        ready=ready,
        warmed_epoch=Epoch(1),
        at_s=time.time() - age_s,
        resident_bytes=0,
        base_rss_bytes=0,
        in_flight=0,
        requests_total=0,
        bots={},
        url=url,
    )


@pytest.fixture
def siblings(fleet: Fleet) -> Iterator[Siblings]:
    """Nobody yet."""
    siblings = Siblings(fleet.store, POOL, replica="r-1")
    yield siblings
    siblings.close()


def _stay_silent(sibling: StrangeSibling, _: socket.socket) -> None:
    sibling.over.wait(30)


def _trickle(sibling: StrangeSibling, connection: socket.socket) -> None:
    connection.sendall(answer(b"", length=len(CONTENT)))
    for byte in CONTENT:
        if sibling.over.wait(0.05):
            return
        connection.sendall(bytes((byte,)))


def _die_half_way(_: StrangeSibling, connection: socket.socket) -> None:
    connection.sendall(answer(CONTENT[:3000], length=len(CONTENT)))


def _close_at_once(_: StrangeSibling, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


_USELESS: dict[str, Callable[[StrangeSibling, socket.socket], None] | bytes] = {
    "dies-half-way": _die_half_way,
    "closes-at-once": _close_at_once,
    "stays-silent": _stay_silent,
    "trickles": _trickle,
    "wrong-bytes": answer(CONTENT[::-1]),
    "fewer-bytes": answer(CONTENT[:-1]),
    "more-bytes": answer(CONTENT + b"x"),
    "no-length": b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + CONTENT,
    "no-http": b"220 ready for mail\r\n" * 5,
    "redirects": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    "fails": answer(b"{}", status="500 Internal Server Error"),
    "busy": answer(b"{}", status="503 Service Unavailable"),
    "does-not-have-it": answer(b"{}", status="404 Not Found"),
}
_ASKED_AGAIN = frozenset({"does-not-have-it"})
"""All others are left alone for a while."""


@pytest.mark.parametrize("kind", _USELESS)
def test_a_useless_sibling_costs_little_time_and_another_is_asked(
    siblings: Siblings, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing wrong is taken, in memory or on disk; and it is not asked again for a while, unless it was just a 404."""
    monkeypatch.setattr("kserve_runtimes.core.siblings._BUSY_S", 60.0)
    behave = _USELESS[kind]
    with StrangeSibling(behave) as useless:
        siblings.note([_report(useless.url)])
        started_s = time.monotonic()
        assert siblings.read(SHA256, most_bytes=len(CONTENT)) is None
        assert time.monotonic() - started_s < 5.0
        asked = useless.asked
        assert asked > 0
        assert siblings.read(SHA256, most_bytes=len(CONTENT)) is None
        assert (useless.asked > asked) is (kind in _ASKED_AGAIN)
    with StrangeSibling(behave) as useless, StrangeSibling(answer(CONTENT)) as good:
        siblings.note([_report(useless.url), _report(good.url, replica="r-3")])
        for _ in range(2):  # in whichever order they are asked
            assert siblings.read(SHA256, most_bytes=len(CONTENT)) == CONTENT
            assert siblings.download(SHA256, tmp_path / "content", size_bytes=len(CONTENT))
            assert (tmp_path / "content").read_bytes() == CONTENT
        assert useless.asked > 0


def test_a_sibling_that_is_gone_is_nobody(siblings: Siblings, tmp_path: Path) -> None:
    """A refused connection is as good as no sibling."""
    siblings.note([_report(f"http://127.0.0.1:{free_port()}")])
    assert siblings.read(SHA256, most_bytes=len(CONTENT)) is None
    assert not siblings.download(SHA256, tmp_path / "content", size_bytes=len(CONTENT))


def test_only_live_siblings_are_asked(siblings: Siblings) -> None:
    """Not itself, not who starts or ends, not who fell silent, not who has no address."""
    with StrangeSibling(answer(CONTENT)) as sibling:
        siblings.note(
            [
                _report(sibling.url, replica="r-1"),
                _report(sibling.url, ready=False),
                _report(sibling.url, age_s=3600),
                _report(None),
            ]
        )
        assert siblings.read(SHA256, most_bytes=len(CONTENT)) is None
        assert sibling.asked == 0


def test_a_connection_that_has_idled_too_long_is_no_failure(siblings: Siblings) -> None:
    """Its server closes it just when it is used again: the content comes over a new one."""

    def once(_: StrangeSibling, connection: socket.socket) -> None:
        connection.sendall(answer(CONTENT))

    with StrangeSibling(once) as sibling:
        siblings.note([_report(sibling.url)])
        for _ in range(5):
            assert siblings.read(SHA256, most_bytes=len(CONTENT)) == CONTENT
        assert sibling.asked == 5


def test_siblings_are_found_beside_the_loads(fleet: Fleet, siblings: Siblings) -> None:
    """The first load asks the store; who is there is looked for meanwhile, by the reports."""
    with StrangeSibling(answer(CONTENT)) as sibling:
        write_report(fleet.store, _report(sibling.url))
        assert siblings.read(SHA256, most_bytes=len(CONTENT)) is None
        assert eventually(lambda: siblings.read(SHA256, most_bytes=len(CONTENT)) == CONTENT)


def test_a_bot_is_loaded_from_the_store_where_every_sibling_lies(
    fleet: Fleet, siblings: Siblings, tmp_path: Path
) -> None:
    """Where an artifact came from is told; what was asked in vain counts for nothing."""
    fleet.publish(linear_folder(tmp_path, "one"))
    version = CatalogStore(fleet.store).read_all()[BotId("one")].latest
    with StrangeSibling(answer(b"{}")) as liar:
        siblings.note([_report(liar.url)])
        cache = ArtifactCache(tmp_path / "cache", nearby=siblings)
        origins: list[Origin] = []
        cache.on_used = origins.append
        for _ in range(2):
            with cache.use(fleet.store, version.artifact, size_bytes=version.size_bytes) as folder:
                assert (folder / "model.safetensors").is_file()
        assert origins == [Origin.STORE, Origin.DISK]
        assert liar.asked == 1


def test_large_contents_are_streamed_from_a_sibling(
    fleet: Fleet, siblings: Siblings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is not needed for anything then."""
    monkeypatch.setattr("botshard.store.artifacts._AT_ONCE_BYTES", 10)
    fleet.publish(linear_folder(tmp_path, "one"))
    version = CatalogStore(fleet.store).read_all()[BotId("one")].latest
    full = ArtifactCache(tmp_path / "full")
    with full.use(fleet.store, version.artifact, size_bytes=version.size_bytes):
        pass
    served: list[bytes] = []

    def serve(_: StrangeSibling, connection: socket.socket) -> None:
        connection.sendall(answer(served.pop(0)))

    paths = [full.folder / "artifacts" / f"{version.artifact}.json", *(full.folder / "blobs").glob("*/*")]
    served += [path.read_bytes() for path in paths]
    (fleet.folder / "store").rename(fleet.folder / "away")
    with StrangeSibling(serve) as sibling:
        siblings.note([_report(sibling.url)])
        cache = ArtifactCache(tmp_path / "cache", nearby=siblings)
        origins: list[Origin] = []
        cache.on_used = origins.append
        with cache.use(fleet.store, version.artifact, size_bytes=version.size_bytes) as folder:
            assert (folder / "model.safetensors").read_bytes() == paths[1].read_bytes()
    assert origins == [Origin.SIBLING]


def test_what_a_cache_has_can_be_opened_by_its_digest_alone(fleet: Fleet, tmp_path: Path) -> None:
    """Blobs and manifests, and no other file on the disk."""
    fleet.publish(linear_folder(tmp_path, "one"))
    version = CatalogStore(fleet.store).read_all()[BotId("one")].latest
    cache = ArtifactCache(tmp_path / "cache")
    with cache.use(fleet.store, version.artifact, size_bytes=version.size_bytes):
        pass
    (blob,) = (cache.folder / "blobs").glob("*/*")
    for digest in (version.artifact, blob.name):
        file = cache.open_content(digest)
        assert file is not None
        with file:
            assert hashlib.sha256(file.read()).hexdigest() == digest
    link = "f" * 64
    (cache.folder / "blobs" / "ff").mkdir(exist_ok=True)
    (cache.folder / "blobs" / "ff" / link).symlink_to(tmp_path / "one-1" / "bot.yaml")
    (cache.folder / "blobs" / "ff" / ("f" * 63 + "e")).mkdir()
    for digest in (
        "0" * 64,
        link,
        "f" * 63 + "e",
        "../../etc/passwd",
        blob.name.upper(),
        blob.name[:63],
        "",
        f"{blob.name}\n",
    ):
        assert cache.open_content(digest) is None


def test_a_report_without_an_address_is_as_ever() -> None:
    """Readers of before know no `url`, and are told none where there is none."""
    from botshard.store.reports import decode_report, encode_report

    plain = _report(None)
    assert b'"url"' not in encode_report(plain)
    told = replace(plain, url="http://10.0.0.7:8080")
    assert decode_report(encode_report(told)) == told
