"""Replicas of a pool on different machines get artifacts from each other."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from botshard.http1.asgi import Message
from botshard.sharding.ids import PoolName
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.contents import Origin
from kserve_runtimes.serving.sharing import ArtifactShare
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.servers import MinioServer
from tests.store.proxy import LossyProxy
from tests.waiting import eventually

log = logging.getLogger(__name__)

REALTIME, SLEEPY = pool_of("realtime", "torch"), pool_of("non-realtime", "torch")


@contextmanager
def _machine(zygote: Zygote, fleet: Fleet, pool: PoolName, replica: str, **more: str) -> Iterator[Replica]:
    """A replica with a disk of its own, and an address that others know."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        settings = {
            "RUNTIME_CACHE_DIR": str(fleet.folder / f"cache-{replica}"),
            "RUNTIME_ADVERTISE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "RUNTIME_REPORT_INTERVAL_S": "0.3",
            **more,
        }
        with Replica(zygote, fleet, pool, replica=replica, listener=listener, **settings) as running:
            yield running.wait_ready()


def _origins(replica: Replica) -> dict[str, int]:
    return {str(origin): int(replica.metric("botshard_artifacts_total", origin=origin)) for origin in Origin}


def _is_reported_ready(fleet: Fleet, replica: Replica) -> bool:
    report = fleet.report(replica.pool, replica.name)
    return report is not None and report.ready and report.url == replica.url


@pytest.fixture
def first(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> Iterator[Replica]:
    """A realtime replica that has three bots from the store, and has said where it is."""
    fleet.publish(*(linear_folder(tmp_path, f"bot-{number}", seed=number) for number in range(3)))
    fleet.publish_table({key_of("realtime", "torch"): [REALTIME]})
    with _machine(torch_zygote, fleet, REALTIME, "r-1") as replica:
        eventually(lambda: _is_reported_ready(fleet, replica))
        yield replica


def test_a_new_replica_loads_from_its_sibling(torch_zygote: Zygote, fleet: Fleet, first: Replica) -> None:
    """Its disk is empty, and it asks the store for nothing but table and catalog."""
    assert _origins(first) == {"disk": 0, "sibling": 0, "store": 3}
    with _machine(torch_zygote, fleet, REALTIME, "r-2") as second:
        assert _origins(second) == {"disk": 0, "sibling": 3, "store": 0}
        assert second.multiply("bot-1").json == first.multiply("bot-1").json
    with _machine(torch_zygote, fleet, REALTIME, "r-2") as again:
        assert _origins(again) == {"disk": 3, "sibling": 0, "store": 0}


def test_a_damaged_disk_of_a_sibling_harms_nobody(torch_zygote: Zygote, fleet: Fleet, first: Replica) -> None:
    """What it gives is not what was asked for, so the store is asked."""
    for blob in (fleet.folder / "cache-r-1" / "blobs").glob("*/*"):
        blob.chmod(0o644)
        blob.write_bytes(b"x" * blob.stat().st_size)
    with _machine(torch_zygote, fleet, REALTIME, "r-2") as second:
        assert _origins(second)["store"] == 3
        assert second.multiply("bot-1").status == 200


def test_a_sibling_that_is_killed_harms_nobody(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """In the middle of what it gives, as a node that is lost: the store has the rest."""
    fleet.publish(*(linear_folder(tmp_path, f"bot-{number}", seed=number) for number in range(60)))
    fleet.publish_table({key_of("realtime", "torch"): [REALTIME]})
    with _machine(torch_zygote, fleet, REALTIME, "r-1") as first:
        eventually(lambda: _is_reported_ready(fleet, first))
        with _machine(torch_zygote, fleet, REALTIME, "r-2", RUNTIME_READY_SHARE="0") as second:
            eventually(lambda: _origins(second)["sibling"] > 0)
            first.stop(signal.SIGKILL)
            eventually(lambda: second.bots()["resident"] == 60)
            origins = _origins(second)
            assert (origins["disk"], origins["sibling"] + origins["store"]) == (0, 60)
            assert second.metric("botshard_loads_total", outcome="failed") == 0


def test_a_content_is_given_to_who_knows_its_digest(fleet: Fleet, first: Replica) -> None:
    """Blobs and manifests whole; nothing by any other name; nothing else can be done there."""
    cache = fleet.folder / "cache-r-1"
    (manifest, *_) = (cache / "artifacts").glob("*.json")
    (blob, *_) = (cache / "blobs").glob("*/*")
    for digest in (manifest.stem, blob.name):
        answer = first.get(f"/pool/blobs/{digest}")
        assert (answer.status, hashlib.sha256(answer.body).hexdigest()) == (200, digest)
    for name in ("0" * 64, f"..%2f..%2fblobs%2f{blob.parent.name}%2f{blob.name}", "%00", "table", blob.name.upper()):
        assert first.get(f"/pool/blobs/{name}").status == 404
    assert first.post(f"/pool/blobs/{blob.name}", {}).status == 405


@pytest.mark.parametrize(
    "settings", [{"RUNTIME_ADVERTISE_URL": ""}, {"RUNTIME_SHARE_ARTIFACTS": "false"}], ids=["no-address", "off"]
)
def test_nothing_is_given_or_taken_unless_it_is_shared(
    torch_zygote: Zygote, fleet: Fleet, first: Replica, settings: dict[str, str]
) -> None:
    """An address is what turns sharing on, and a setting turns it off."""
    with _machine(torch_zygote, fleet, REALTIME, "r-2", **settings) as second:
        assert _origins(second) == {"disk": 0, "sibling": 0, "store": 3}
        (blob, *_) = (fleet.folder / "cache-r-2" / "blobs").glob("*/*")
        assert second.get(f"/pool/blobs/{blob.name}").status == 404
        report = eventually(lambda: fleet.report(REALTIME, "r-2"))
        assert report is not None
        assert report.url is None


def test_a_bot_that_a_sibling_has_is_loaded_while_the_store_is_away(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """And one that nobody has is 503 until the store is back."""
    names = [f"bot-{number}" for number in range(6)]
    fleet.publish(*(linear_folder(tmp_path, name, group="non-realtime", seed=ord(name[-1])) for name in names))
    fleet.publish_table({key_of("non-realtime", "torch"): [SLEEPY]})
    with (
        _machine(torch_zygote, fleet, SLEEPY, "r-1") as first,
        _machine(torch_zygote, fleet, SLEEPY, "r-2") as second,
    ):
        eventually(lambda: _is_reported_ready(fleet, first))
        assert {first.multiply(name).status for name in names[:5]} == {200}
        untried = iter(names[:4])
        # Its first load makes it look for siblings, beside the load.
        eventually(lambda: second.multiply(next(untried)).status == 200 and _origins(second)["sibling"] > 0)
        (fleet.folder / "store").rename(fleet.folder / "away")
        assert second.multiply(names[4]).status == 200
        assert second.multiply(names[5]).status == 503
        (fleet.folder / "away").rename(fleet.folder / "store")
        eventually(lambda: second.multiply(names[5]).status == 200)


async def test_siblings_are_served_a_few_at_a_time(tmp_path: Path) -> None:
    """Clients come first; who asks beyond that goes to the store, and who goes away leaves the place to the next."""
    content = os.urandom(1_000_000)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "blobs" / digest[:2]).mkdir(parents=True)
    (tmp_path / "blobs" / digest[:2] / digest).write_bytes(content)
    share = ArtifactShare(ArtifactCache(tmp_path))
    sent: list[Message] = []

    async def take(message: Message) -> None:
        sent.append(message)

    async def refuse(_: Message) -> None:
        raise ConnectionResetError

    answers = [await share.content(digest) for _ in range(8)]
    assert {answer.status for answer in answers} == {200}
    busy = await share.content(digest)
    assert (busy.status, dict(busy.headers)[b"retry-after"]) == (503, b"1")
    await answers.pop().send(take, [])
    head, *pieces = sent
    assert dict(head["headers"])[b"content-length"] == b"1000000"
    assert len(pieces) == 4
    assert b"".join(piece["body"] for piece in pieces) == content
    assert [piece["more_body"] for piece in pieces] == [True, True, True, False]
    with pytest.raises(ConnectionResetError):
        await answers.pop().send(refuse, [])
    assert share.under_way == 6
    assert (await share.content("0" * 64)).status == 404
    for answer in answers:
        await answer.send(take, [])
    assert share.under_way == 0


@pytest.mark.minio
def test_a_sibling_makes_up_for_a_slow_store(torch_zygote: Zygote, minio: MinioServer, tmp_path: Path) -> None:
    """200 bots, 20 ms a request to the store: loading them takes less than half of the time."""
    fleet = Fleet(tmp_path / "fleet", url=minio.url("sharing"), credentials=minio.environ)
    fleet.publish(*(linear_folder(tmp_path, f"bot-{number}", seed=number) for number in range(200)))
    fleet.publish_table({key_of("realtime", "torch"): [REALTIME]})
    spent_s: dict[str, float] = {}
    with LossyProxy(minio.port) as proxy, _machine(torch_zygote, fleet, REALTIME, "r-1") as first:
        eventually(lambda: _is_reported_ready(fleet, first))
        proxy.delay_s = 0.02
        far = fleet.url.replace(minio.endpoint, proxy.endpoint)
        for shared in ("false", "true"):
            began_s = time.monotonic()
            settings = {"RUNTIME_SHARE_ARTIFACTS": shared, "RUNTIME_STORE_URL": far}
            with _machine(torch_zygote, fleet, REALTIME, f"shared-{shared}", **settings) as replica:
                ready_s = time.monotonic() - began_s
                assert _origins(replica)["sibling" if shared == "true" else "store"] == 200
                spent_s[shared] = replica.metric("botshard_load_seconds_sum", reason="warm")
                log.info("shared=%s: ready after %.1f s, loads %.1f s", shared, ready_s, spent_s[shared])
    fleet.close()
    assert spent_s["true"] < spent_s["false"] / 2
