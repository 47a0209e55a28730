"""What other processes do to a store in tests: `python -m tests.store.processes URL VERB ARGUMENTS…`."""

# ruff: noqa: T201 - stdout is how they tell what they have done

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import sys
from pathlib import Path

from botshard.store.artifact_cache import ArtifactCache
from botshard.store.artifacts import cached_manifest, fetch_artifact
from botshard.store.base import ObjectNotFoundError, ObjectStore, PreconditionFailedError, StoreError
from botshard.store.catalog import CatalogStore
from botshard.store.manifests import describe_file
from botshard.store.urls import open_store
from tests.store.homes import make_bot


def increment(store: ObjectStore, key: str, times: str) -> None:
    """Add 1 to a counter, `times` times, by compare-and-swap; the number of the writer is part of the object."""
    for _ in range(int(times)):
        while True:
            try:
                blob = store.get(key)
                count, etag = json.loads(blob.data)["count"], blob.etag
            except ObjectNotFoundError:
                count, etag = 0, None
            try:
                store.put_if(key, json.dumps({"count": count + 1, "by": os.getpid()}).encode(), etag=etag)
                break
            except PreconditionFailedError:
                continue


def overwrite(store: ObjectStore, key: str, size_bytes: str, verb: str) -> None:
    """Write self-describing objects to one key until killed; a line on stdout says that one is written."""
    source = Path(os.environ["TEST_SCRATCH"]) / f"{os.getpid()}"
    number = 0
    while True:
        body = f"{os.getpid()}-{number}-".encode() * (int(size_bytes) // 8)
        data = hashlib.sha256(body).hexdigest().encode() + body
        if verb == "upload":
            source.write_bytes(data)
            store.upload(key, source)
        else:
            store.put(key, data)
        print(number, flush=True)
        number += 1


def publish(store: ObjectStore, prefix: str, count: str) -> None:
    """Add bots to the catalog, each by a change of its own."""
    catalog = CatalogStore(store)
    for index in range(int(count)):
        bot = make_bot(f"{prefix}-{index}")
        catalog.change(bot.id, lambda _, bot=bot: bot)  # type: ignore[misc]  # the default binds the loop's bot


def fetch(store: ObjectStore, digest: str, cache_dir: str) -> None:
    """Fetch an artifact into a shared cache."""
    print(fetch_artifact(store, digest, Path(cache_dir)), flush=True)


def churn(store: ObjectStore, digests: str, cache_dir: str, most_bytes: str, rounds: str) -> None:
    """Use artifacts in an order of our own, in a cache with a bound; each must be whole for as long as it is used."""
    cache, draw = ArtifactCache(Path(cache_dir), most_bytes=int(most_bytes)), random.Random(os.getpid())
    for _ in range(int(rounds)):
        digest = draw.choice(digests.split(","))
        with cache.use(store, digest, size_bytes=int(most_bytes)) as folder:
            manifest = cached_manifest(folder)
            for name, entry in manifest.files.items():
                if describe_file(folder / name) != entry:
                    raise SystemExit(f"{digest}/{name} is damaged")
            print(digest, flush=True)


def overflow(store: ObjectStore, key: str, limit_bytes: str) -> None:
    """Write more than the operating system lets this process write; prints what comes of it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
    try:
        store.put(key, b"x" * (int(limit_bytes) + 1))
    except StoreError as error:
        print(type(error).__name__, flush=True)


def main(url: str, verb: str, *arguments: str) -> None:
    verbs = {
        "churn": churn,
        "increment": increment,
        "overwrite": overwrite,
        "publish": publish,
        "fetch": fetch,
        "overflow": overflow,
    }
    verbs[verb](open_store(url, os.environ), *arguments)  # type: ignore[operator]  # each verb knows its arguments


if __name__ == "__main__":
    main(*sys.argv[1:])
