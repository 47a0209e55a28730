"""`botshard savings` on a real store."""

from __future__ import annotations

from pathlib import Path

from botshard.store.files import FileStore
from botshard.store.layout import artifact_key
from tests.cli.fleets import BOTS, make_fleet, publish_bots
from tests.cli.running import Cli


def test_equal_files_are_counted_once_a_pool(cli: Cli, tmp_path: Path) -> None:
    """Four bots from one template in two pools: what a pool holds is their template once; retired bots do not count."""
    store = FileStore(tmp_path / "store")
    make_fleet(store, tmp_path / "bots")
    (told,) = cli.document("savings", "--store", store.url)["groups"]
    assert (told["group"], told["framework"], told["families"]) == ("non-realtime", "torch", 1)
    assert (told["bots"], told["pools"]) == (len(BOTS) - 1, 2)
    assert 0 < told["distinctBytes"] <= told["poolBytes"] <= 2 * told["distinctBytes"]
    ended = cli("savings", "--store", store.url)
    assert ended.exit_code == 0, ended.stderr
    assert "PLAIN HASHING" in ended.stdout


def test_a_manifest_that_is_gone_is_named_and_the_rest_is_told(cli: Cli, tmp_path: Path) -> None:
    """One damaged bot does not hide the others."""
    store = FileStore(tmp_path / "store")
    make_fleet(store, tmp_path / "bots")
    entry = cli.document("show", "acme-banking", "--store", store.url)
    store.delete(artifact_key(entry["versions"][0]["artifact"]))
    ended = cli("savings", "--store", store.url)
    assert ended.exit_code == 0, ended.stderr
    assert "acme-banking is not counted" in ended.stderr


def test_without_a_table_there_is_nothing_to_compare(cli: Cli, tmp_path: Path) -> None:
    """And it says so."""
    store = FileStore(tmp_path / "store")
    publish_bots(store, tmp_path / "bots", BOTS[:1])
    ended = cli("savings", "--store", store.url)
    assert ended.exit_code == 1
    assert "no routing table" in ended.stderr
