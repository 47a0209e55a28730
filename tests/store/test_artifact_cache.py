"""A cache with a bound: what was used longest ago goes, nothing goes that somebody is using, whoever is killed."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from botshard.store.artifact_cache import ArtifactCache
from botshard.store.artifacts import store_artifact
from botshard.store.base import ObjectStore
from botshard.store.manifests import ArtifactManifest, describe_files
from tests.store.homes import Home, start_process

KIB = 1024
SIZE = 100 * KIB


def _store_artifacts(store: ObjectStore, folder: Path, count: int, *, shared: bytes = b"") -> list[str]:
    """Artifacts with `SIZE` bytes of their own each, and a file that all of them have."""
    digests = []
    for number in range(count):
        files = {}
        for name, data in (("own", random.Random(number).randbytes(SIZE)), ("shared", shared)):
            files[name] = folder / f"{number}-{name}"
            files[name].write_bytes(data)
        digests.append(store_artifact(store, ArtifactManifest({"id": f"bot-{number}"}, describe_files(files)), files))
    return digests


def _disk_bytes(cache: Path) -> int:
    """Whole bytes below the cache, each file counted once however many names it has."""
    stats = [path.stat() for path in cache.rglob("*") if path.is_file()]
    return sum({stat.st_ino: stat.st_size for stat in stats}.values())


def _use(cache: ArtifactCache, store: ObjectStore, digest: str) -> None:
    with cache.use(store, digest, size_bytes=SIZE) as folder:
        assert (folder / "own").stat().st_size == SIZE


@pytest.fixture
def digests(own_home: Home, tmp_path: Path) -> list[str]:
    """Twenty stored artifacts that share a file."""
    store = own_home.open()
    digests = _store_artifacts(store, tmp_path, 20, shared=b"label\n" * 1000)
    store.close()
    return digests


def test_the_cache_stays_within_its_bound(own_home: Home, digests: list[str], tmp_path: Path) -> None:
    """Manifests aside; and what was used last needs no store."""
    store, cache = own_home.open(), ArtifactCache(tmp_path / "cache", most_bytes=10 * SIZE)
    for digest in digests:
        _use(cache, store, digest)
        assert _disk_bytes(cache.folder) <= 10 * SIZE + SIZE + len(digests) * KIB
    assert _disk_bytes(cache.folder) > 5 * SIZE
    assert (cache.folder / "artifacts" / digests[-1] / "own").exists()
    assert not (cache.folder / "artifacts" / digests[0]).exists()
    assert list((cache.folder / "scratch").iterdir()) == []
    _use(cache, store, digests[0])
    store.close()


def test_what_was_used_longest_ago_goes_first(own_home: Home, digests: list[str], tmp_path: Path) -> None:
    """A use counts, not the fetch."""
    store, cache = own_home.open(), ArtifactCache(tmp_path / "cache")
    for digest in digests[:10]:
        _use(cache, store, digest)
    _use(cache, store, digests[0])
    cache.trim(5 * SIZE)
    kept = {path.name for path in (cache.folder / "artifacts").iterdir() if path.is_dir()}
    assert kept == {digests[0], *digests[7:10]}
    store.close()


def test_nothing_goes_that_somebody_is_using(own_home: Home, digests: list[str], tmp_path: Path) -> None:
    """However long that takes; afterwards it goes like anything else."""
    store, cache, other = own_home.open(), ArtifactCache(tmp_path / "cache"), ArtifactCache(tmp_path / "cache")
    for digest in digests[:5]:
        _use(cache, store, digest)
    with cache.use(store, digests[0], size_bytes=SIZE) as folder:
        for path in (cache.folder / "artifacts").glob("*.json"):
            os.utime(path, (1, 1))
        other.trim(0)
        assert (folder / "own").stat().st_size == SIZE
        assert {path.name for path in folder.parent.iterdir() if path.is_dir()} >= {digests[0]}
    assert other.trim(0) == 0
    assert _disk_bytes(cache.folder) == 0
    store.close()


def test_contents_stay_as_long_as_an_artifact_has_them(own_home: Home, digests: list[str], tmp_path: Path) -> None:
    """A file that several artifacts share survives the removal of all but one."""
    store, cache = own_home.open(), ArtifactCache(tmp_path / "cache")
    for digest in digests[:4]:
        _use(cache, store, digest)
    cache.trim(2 * SIZE)
    folders = [path for path in (cache.folder / "artifacts").iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert (folders[0] / "shared").read_bytes() == b"label\n" * 1000
    store.close()


def test_contents_that_a_killed_process_left_go_when_they_are_old(
    own_home: Home, digests: list[str], tmp_path: Path
) -> None:
    """Young ones may be on their way to a name."""
    store, cache = own_home.open(), ArtifactCache(tmp_path / "cache")
    _use(cache, store, digests[0])
    young, old = (cache.folder / "blobs" / "00" / name for name in ("young", "old"))
    young.parent.mkdir(exist_ok=True)
    for path in (young, old):
        path.write_bytes(b"x" * SIZE)
    os.utime(old, (time.time() - 3600,) * 2)
    cache.trim(29 * SIZE // 10)
    assert young.exists()
    assert not old.exists()
    assert (cache.folder / "artifacts" / digests[0]).exists()
    store.close()


def test_processes_that_share_a_bounded_cache_never_see_half_an_artifact(
    own_home: Home, digests: list[str], tmp_path: Path
) -> None:
    """Three of them use what the others remove; each that is killed is followed by another."""
    folder, draw = tmp_path / "cache", random.Random(5)
    arguments = ("churn", ",".join(digests), str(folder), str(6 * SIZE), "60")
    processes = [start_process(own_home, *arguments) for _ in range(3)]
    for _ in range(3):
        victim = processes.pop(0)
        assert victim.stdout is not None
        for _ in range(draw.randrange(1, 20)):
            victim.stdout.readline()
        victim.kill()
        victim.communicate()
        processes.append(start_process(own_home, *arguments))
    for process in processes:
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(told.splitlines()) == 60
    store, cache = own_home.open(), ArtifactCache(folder)
    _use(cache, store, digests[0])
    assert cache.trim(6 * SIZE) <= 6 * SIZE
    assert list((folder / "scratch").iterdir()) == []
    store.close()
