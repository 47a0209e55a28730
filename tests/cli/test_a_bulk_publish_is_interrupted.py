"""Hundreds of bots by one command that is ended half-way and started again, on both kinds of store."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from botshard.sharding.ids import BotId
from botshard.store.base import ObjectStore
from botshard.store.catalog import CatalogStore
from botshard.store.catalog_documents import decode_head, decode_object
from botshard.store.layout import (
    ARTIFACTS_PREFIX,
    BLOBS_PREFIX,
    CATALOG_HEAD,
    CATALOG_PREFIX,
    catalog_key_of,
    catalog_name,
)
from tests.bots.folders import changed, write_bot
from tests.cli.running import Cli
from tests.store.homes import Home
from tests.waiting import eventually

_COUNT = 600


def _write_bots(folder: Path, count: int) -> list[str]:
    """Folders of bots with models of their own, relative to `folder`."""
    names = [f"bots/bot-{number:03}" for number in range(count)]
    for number, name in enumerate(names):
        write_bot(folder / name, changed("id", Path(name).name), value=number + 0.5)
    return names


def _etags(store: ObjectStore, prefix: str) -> dict[str, str]:
    return {entry.key: entry.etag for entry in store.list(prefix)}


def _revisions(store: ObjectStore) -> dict[str, int]:
    """Revision of each catalog object, from the objects themselves."""
    keys = {name: entry.key for entry in store.list(CATALOG_PREFIX) if (name := catalog_name(entry.key)) is not None}
    return {name: decode_object(name, store.get(key).data)[0] for name, key in keys.items()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_the_same_command_publishes_what_is_left(number: signal.Signals, cli: Cli, home: Home) -> None:
    """Every bot is there once with one version, nothing is stored twice, and the head announces all of it."""
    there = Cli(cli.folder, {**home.environ, "BOTSHARD_STORE": home.url})
    names = _write_bots(cli.folder, _COUNT)
    store = home.open()
    with there.start(["publish", *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually(lambda: store.get(CATALOG_HEAD), within_s=60)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number is signal.SIGINT else -number)
    assert (out, "the same command goes on" in err) == ("", number is signal.SIGINT)
    assert "Traceback" not in err
    published = CatalogStore(store).read_all()
    assert 0 < len(published) < _COUNT
    stored = {prefix: _etags(store, prefix) for prefix in (ARTIFACTS_PREFIX, BLOBS_PREFIX)}

    done = there.document("publish", *names)

    assert (done["created"], done["unchanged"]) == (_COUNT - len(published), len(published))
    bots = CatalogStore(store).read_all()
    assert {bot_id: len(bot.versions) for bot_id, bot in bots.items()} == {Path(name).name: 1 for name in names}
    assert {bot_id: bots[bot_id] for bot_id in published} == published
    for prefix, before in stored.items():
        after = _etags(store, prefix)
        assert len(after) == _COUNT
        assert before.items() <= after.items()
    assert decode_head(store.get(CATALOG_HEAD).data).objects == _revisions(store)
    store.close()


def test_each_catalog_object_is_written_once_and_one_more_bot_writes_one(cli: Cli, home: Home) -> None:
    """However many bots a command publishes, followers read each object again once; for one bot, one object."""
    there = Cli(cli.folder, {**home.environ, "BOTSHARD_STORE": home.url})
    *names, last = _write_bots(cli.folder, _COUNT)
    store = home.open()
    assert there.document("publish", *names)["created"] == _COUNT - 1
    assert set(_revisions(store).values()) == {1}
    before = _etags(store, "")

    assert there.document("publish", last)["created"] == 1

    after = _etags(store, "")
    written = {key for key in after if after[key] != before.get(key)}
    kinds = sorted(key.split("/")[0] for key in written)
    assert kinds == ["artifacts", "blobs", "catalog", "catalog"]
    assert {CATALOG_HEAD, catalog_key_of(BotId(Path(last).name))} <= written
    assert before.keys() <= after.keys()
    store.close()
