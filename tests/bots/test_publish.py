"""Publishing: all or nothing, idempotent, deduplicated, and safe against others and against dying half-way."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from botshard.bots.limits import Limits
from botshard.bots.publish import PublishResult, PublishStatus, publish
from botshard.bots.rollouts import read_bot, retire, rollback
from botshard.bots.spec_document import spec_from_document
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.store.artifacts import fetch_artifact, read_manifest
from botshard.store.base import ObjectStore, StoreUnavailableError
from botshard.store.catalog import CatalogStore
from tests.bots.folders import GOOD, changed, text_bot, write_bot


def _keys(store: ObjectStore, prefix: str) -> list[str]:
    return [entry.key for entry in store.list(prefix)]


def _statuses(results: list[PublishResult]) -> list[tuple[str, int | None]]:
    return [(result.status.value, result.version) for result in results]


def test_a_published_bot_is_in_the_catalog_and_its_artifact_is_whole(store: ObjectStore, tmp_path: Path) -> None:
    """The entry names family, size, time and hints; the manifest gives the spec back, the files their content."""
    folder = write_bot(tmp_path / "bot", {**GOOD, "resources": {"memory": "1Mi"}, "pin": "p"})
    assert _statuses(publish(store, [folder], now_s=1_700_000_000)) == [("created", 1)]
    bot = read_bot(store, "acme-banking")
    model = (folder / "model.safetensors").read_bytes()
    assert bot.latest.size_bytes == len(model)
    assert bot.latest.published_at_s == 1_700_000_000
    assert bot.latest.resources.memory_bytes == 1024**2
    assert (bot.latest.family_key.group, bot.latest.family_key.backbone, bot.latest.family_key.pin) == (
        "realtime",
        None,
        "p",
    )
    spec = spec_from_document(read_manifest(store, bot.latest.artifact).spec)
    assert (spec.id, spec.family_key) == ("acme-banking", bot.latest.family_key)
    fetched = fetch_artifact(store, bot.latest.artifact, cache_dir=tmp_path / "cache")
    assert (fetched / "model.safetensors").read_bytes() == model


def test_publishing_the_same_again_changes_nothing(store: ObjectStore, tmp_path: Path) -> None:
    """Neither a version nor an object nor the head; a change of content makes the next version."""
    folder = write_bot(tmp_path / "bot")
    publish(store, [folder], now_s=1)
    before = {entry.key: entry.etag for entry in store.list("")}
    assert _statuses(publish(store, [folder], now_s=2)) == [("unchanged", 1)]
    assert {entry.key: entry.etag for entry in store.list("")} == before
    write_bot(folder, value=0.25)
    assert _statuses(publish(store, [folder], now_s=3)) == [("created", 2)]
    write_bot(folder, value=0.5)
    assert _statuses(publish(store, [folder], now_s=4)) == [("created", 3)]
    versions = read_bot(store, "acme-banking").versions
    assert [version.number for version in versions] == [1, 2, 3]
    assert versions[0].artifact == versions[2].artifact != versions[1].artifact


def test_equal_files_are_stored_once(store: ObjectStore, tmp_path: Path) -> None:
    """Twelve bots with two different models are twelve manifests and two blobs."""
    folders = [write_bot(tmp_path / f"bot-{n}", changed("id", f"bot-{n}"), value=n % 2) for n in range(12)]
    assert _statuses(publish(store, folders, now_s=1)) == [("created", 1)] * 12
    assert len(_keys(store, "artifacts/")) == 12
    assert len(_keys(store, "blobs/")) == 2


def test_one_bad_folder_keeps_all_from_being_stored(store: ObjectStore, tmp_path: Path) -> None:
    """Nothing is in the store, and each result tells; with `keep_going` the good ones are published."""
    good = write_bot(tmp_path / "good", changed("id", "good"))
    bad = write_bot(tmp_path / "bad", changed("inputs.0.datatype", "FP33"))
    absent = tmp_path / "absent"
    results = publish(store, [good, bad, absent], now_s=1)
    assert [result.status for result in results] == [PublishStatus.REFUSED] * 3
    assert [bool(result.problems) for result in results] == [False, True, True]
    assert [result.bot_id for result in results] == ["good", None, None]
    assert _keys(store, "") == []
    results = publish(store, [good, bad, absent], now_s=1, keep_going=True)
    assert _statuses(results) == [("created", 1), ("refused", None), ("refused", None)]
    assert set(CatalogStore(store).read_all()) == {"good"}


def test_a_dry_run_stores_nothing_and_tells_what_would_be(store: ObjectStore, tmp_path: Path) -> None:
    """The version that a folder would get is the one that it gets."""
    folder = write_bot(tmp_path / "bot")
    assert _statuses(publish(store, [folder], now_s=1, dry_run=True)) == [("created", 1)]
    assert _keys(store, "") == []
    assert _statuses(publish(store, [folder], now_s=1)) == [("created", 1)]
    assert _statuses(publish(store, [folder], now_s=1, dry_run=True)) == [("unchanged", 1)]


def test_two_folders_with_one_id_are_refused(store: ObjectStore, tmp_path: Path) -> None:
    """Also the same folder twice: which one would be the newer version is anybody's guess."""
    one, two = write_bot(tmp_path / "one"), write_bot(tmp_path / "two", value=2)
    results = publish(store, [one, two], now_s=1)
    assert [result.problems[0].field for result in results] == ["id", "id"]
    assert str(two) in results[0].problems[0].found
    assert "twice" in str(publish(store, [one, one], now_s=1)[0].problems[0])
    assert _keys(store, "") == []


def test_a_bot_keeps_its_tenant(store: ObjectStore, tmp_path: Path) -> None:
    """Whoever publishes under an id that is taken is refused, and the bot stays as it is."""
    publish(store, [write_bot(tmp_path / "ours")], now_s=1)
    before = read_bot(store, "acme-banking")
    (result,) = publish(store, [write_bot(tmp_path / "theirs", changed("tenant", "other"), value=2)], now_s=2)
    assert result.problems == (
        Problem.of(
            "tenant",
            "other",
            "'acme', the tenant of bot 'acme-banking' since its first version (or choose another id)",
        ),
    )
    assert read_bot(store, "acme-banking") == before


def test_a_rollout_in_the_file_is_taken_over_and_checked(store: ObjectStore, tmp_path: Path) -> None:
    """A number pins; a version that will not be there is refused; publishing again does not undo a rollback."""
    folder = write_bot(tmp_path / "bot", {**GOOD, "rollout": {"version": 2}})
    (result,) = publish(store, [folder], now_s=1)
    assert str(result.problems[0]).startswith("rollout.version: must be latest, or a version from 1 to 1")
    publish(store, [write_bot(folder)], now_s=1)
    publish(store, [write_bot(folder, {**GOOD, "rollout": {"version": 1}}, value=2)], now_s=2)
    bot = read_bot(store, "acme-banking")
    assert (bot.serving.number, bot.latest.number) == (1, 2)
    publish(store, [write_bot(folder, value=3)], now_s=3)
    assert read_bot(store, "acme-banking").serving.number == 3
    rollback(store, "acme-banking")
    assert _statuses(publish(store, [folder], now_s=4)) == [("unchanged", 3)]
    assert read_bot(store, "acme-banking").serving.number == 2


def test_a_retired_bot_comes_back_when_it_is_published(store: ObjectStore, tmp_path: Path) -> None:
    """The same content comes back under its number, new content under the next."""
    folder = write_bot(tmp_path / "bot")
    publish(store, [folder], now_s=1)
    retire(store, "acme-banking")
    assert _statuses(publish(store, [folder], now_s=2)) == [("restored", 1)]
    assert not read_bot(store, "acme-banking").retired
    retire(store, "acme-banking")
    assert _statuses(publish(store, [write_bot(folder, value=2)], now_s=3)) == [("created", 2)]


def test_publishers_of_one_bot_at_once_never_share_or_lose_a_number(store: ObjectStore, tmp_path: Path) -> None:
    """Six publishers with three contents, twice each: every content is a version, and the numbers have no gap."""
    folders = [write_bot(tmp_path / f"bot-{n}", value=n // 2) for n in range(6)]
    start = Barrier(len(folders))

    def run(folder: Path) -> PublishResult:
        start.wait()
        return publish(store, [folder], now_s=1)[0]

    with ThreadPoolExecutor(len(folders)) as pool:
        results = list(pool.map(run, folders))
    bot = read_bot(store, "acme-banking")
    numbers = [version.number for version in bot.versions]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({version.artifact for version in bot.versions}) == 3
    created = sorted(result.version or 0 for result in results if result.status is PublishStatus.CREATED)
    assert created == numbers
    artifacts = {version.number: version.artifact for version in bot.versions}
    for index in range(0, 6, 2):
        one, other = (artifacts[result.version] for result in results[index : index + 2] if result.version)
        assert one == other


class _DiesBeforeTheCatalog:
    """A store whose publisher is gone before it writes the catalog."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_if(self, key: str, data: bytes, *, etag: str | None) -> str:
        """Never gets there."""
        raise StoreUnavailableError("the publisher is gone")


def test_a_publisher_that_dies_before_the_catalog_leaves_nothing_visible(store: ObjectStore, tmp_path: Path) -> None:
    """Objects that nobody refers to stay behind; the next publish uses them and finishes."""
    folder = write_bot(tmp_path / "bot")
    with pytest.raises(StoreUnavailableError):
        publish(_DiesBeforeTheCatalog(store), [folder], now_s=1)  # type: ignore[arg-type]
    assert CatalogStore(store).read_all() == {}
    blobs = _keys(store, "blobs/")
    assert len(blobs) == 1
    assert _statuses(publish(store, [folder], now_s=2)) == [("created", 1)]
    assert _keys(store, "blobs/") == blobs


def test_progress_counts_every_step(store: ObjectStore, tmp_path: Path) -> None:
    """Growing numbers, two a folder, up to all."""
    seen: list[tuple[int, int]] = []
    folders = [write_bot(tmp_path / f"bot-{n}", changed("id", f"bot-{n}")) for n in range(5)]
    publish(store, folders, now_s=1, progress=lambda done, count: seen.append((done, count)), workers=3)
    assert seen == [(done, 10) for done in range(1, 11)]


def test_no_folders_are_no_results(store: ObjectStore) -> None:
    """Nothing to do is no error."""
    assert publish(store, [], now_s=1) == []


def test_limits_are_the_publishers_to_set(store: ObjectStore, tmp_path: Path) -> None:
    """A model beyond them is refused with both sizes."""
    folder = write_bot(tmp_path / "bot")
    (result,) = publish(store, [folder], now_s=1, limits=Limits(artifact_bytes=100))
    assert "at most 100 B" in str(result.problems[0])


def test_links_to_files_elsewhere_are_refused(store: ObjectStore, tmp_path: Path) -> None:
    """Neither the model nor a folder on the way to it may be a link."""
    folder = write_bot(tmp_path / "bot", changed("model.file", "sub/model.safetensors"))
    (tmp_path / "elsewhere").mkdir()
    (folder / "model.safetensors").rename(tmp_path / "elsewhere" / "model.safetensors")
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    assert "a symbolic link" in publish(store, [folder], now_s=1)[0].problems[0].found
    (folder / "sub").unlink()
    (folder / "sub").mkdir()
    (folder / "sub" / "model.safetensors").symlink_to(tmp_path / "elsewhere" / "model.safetensors")
    assert "a symbolic link" in publish(store, [folder], now_s=1)[0].problems[0].found


def test_a_damaged_catalog_object_stops_the_publish_by_name(store: ObjectStore, tmp_path: Path) -> None:
    """Nothing is overwritten that could not be read."""
    folder = write_bot(tmp_path / "bot")
    publish(store, [folder], now_s=1)
    (key,) = [key for key in _keys(store, "catalog/") if "head" not in key]
    store.put(key, b"{")
    with pytest.raises(InvalidDocumentError, match="catalog"):
        publish(store, [write_bot(folder, value=2)], now_s=2)
    assert store.get(key).data == b"{"


def test_publishing_imports_no_framework(tmp_path: Path) -> None:
    """A publisher's machine needs neither torch nor tensorflow, and does not wait for them."""
    folder = write_bot(tmp_path / "bot", text_bot())
    program = (
        "import sys; from pathlib import Path; from botshard.bots.publish import publish\n"
        "from botshard.store.urls import open_store\n"
        "(result,) = publish(open_store(sys.argv[1], {}), [Path(sys.argv[2])], now_s=1)\n"
        "assert result.status == 'created', result\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'safetensors', 'h5py'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, f"file://{tmp_path / 'store'}", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
