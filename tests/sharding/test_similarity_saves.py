"""Bots that share files, in pools by family and spread by hash alone."""

from __future__ import annotations

from dataclasses import replace

from botshard.sharding.ids import BotId
from botshard.sharding.placement import place
from botshard.sharding.routing import FamilyRoutes
from botshard.sharding.similarity import Similarity, compare_with_plain_hashing
from tests.sharding.building import MIB, TORCH, group, loads, settled, snapshot

ENCODERS = {"minilm": 90 * MIB, "labse": 400 * MIB}


def routes_of(backbones: tuple[str, ...], *, replicas: int = 1) -> tuple[dict[BotId, FamilyRoutes], dict[BotId, str]]:
    """Two hundred bots for each backbone, three pools a family, and each bot's backbone."""
    keys = {name: replace(TORCH, backbone=name) for name in backbones}
    bots = [bot for name, key in keys.items() for bot in loads(200, key, prefix=name)]
    seen = snapshot(bots, group(bots_per_pool=100 * replicas, shard_replicas=replicas))
    table = settled(seen, place(seen)).table
    assert table is not None
    by_key = {family.key: family for family in table.families.values()}
    return {bot.id: by_key[bot.key] for bot in bots}, {bot.id: bot.key.backbone or "" for bot in bots}


def compared(families: dict[BotId, FamilyRoutes], files: dict[BotId, dict[str, int]]) -> Similarity:
    """The comparison of the one group and framework there is."""
    (found,) = compare_with_plain_hashing(families, files)
    return found


def test_a_pool_holds_the_encoder_of_its_family_and_no_other() -> None:
    """Three pools a family hold one encoder each; six pools of plain hashing hold both."""
    families, backbones = routes_of(("minilm", "labse"))
    files = {bot: {name: ENCODERS[name], f"head of {bot}": 10} for bot, name in backbones.items()}
    found = compared(families, files)
    heads = 400 * 10
    assert (found.families, found.bots, found.pools) == (2, 400, 6)
    assert found.distinct_bytes == 490 * MIB + heads
    assert found.pool_bytes == 3 * 490 * MIB + heads
    assert found.plain_pool_bytes == 6 * 490 * MIB + heads
    assert found.saved_bytes == 3 * 490 * MIB


def test_bots_that_share_nothing_save_nothing() -> None:
    """Whatever the families, every file is then held once for each pool of its bot."""
    families, _ = routes_of(("minilm", "labse"), replicas=2)
    found = compared(families, {bot: {f"head of {bot}": 10} for bot in families})
    assert found.pool_bytes == found.plain_pool_bytes == 2 * 400 * 10
    assert found.saved_bytes == 0


def test_a_bot_without_known_files_counts_as_a_bot_only() -> None:
    """Nothing to add up is no error."""
    families, _ = routes_of(("minilm",))
    found = compared(families, {})
    assert (found.bots, found.pool_bytes, found.plain_pool_bytes, found.distinct_bytes) == (200, 0, 0, 0)


def test_nothing_gives_nothing() -> None:
    """An empty catalog has no groups."""
    assert compare_with_plain_hashing({}, {}) == ()
