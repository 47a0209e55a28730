"""What must hold of every table and placement. Tests call these after each step; nothing in production needs them."""

from __future__ import annotations

from botshard.sharding.fleet import BotLoad, Snapshot
from botshard.sharding.ids import PoolName, ShardIndex
from botshard.sharding.placement import Placement
from botshard.sharding.routing import RoutingTable
from botshard.sharding.weights import Weight, capacity_of, shard_weights

__all__ = ["check_placement", "check_step", "check_table"]


def check_table(table: RoutingTable, /) -> list[str]:
    """Broken invariants of a table, as sentences; empty when all hold."""
    broken = []
    for family in table.families.values():
        where = f"epoch {table.epoch}, family {family.id}"
        if len(family.shards) != 1 << family.bits:
            broken.append(f"{where}: {len(family.shards)} shards with {family.bits} bits")
        if family.key.group not in table.groups:
            broken.append(f"{where}: its group {family.key.group} is not in the table")
        for index, pools in enumerate(family.shards):
            if not pools or len(set(pools)) != len(pools):
                broken.append(f"{where}: shard {index} is routed to {pools}")
            target = family.targets.get(ShardIndex(index))
            named = {*family.answering(ShardIndex(index)), *(target.pools if target else ())}
            unknown = named.difference(family.urls)
            if unknown:
                broken.append(f"{where}: shard {index} names pools without a URL: {sorted(unknown)}")
    return broken


def check_placement(placement: Placement, snapshot: Snapshot, /) -> list[str]:
    """Broken promises of a placement: capacity kept, k pools a shard, drained pools left, every bot placed or refused.

    Of a family that is held only the last holds: it stays as it is, whatever it should be.
    """
    broken = []
    refused = {refusal.bot for refusal in placement.refused}
    for name, family in placement.families.items():
        if name in placement.held:
            continue
        group = snapshot.groups[family.key.group]
        bots: list[BotLoad] = [bot for bot in snapshot.bots if bot.key == family.key and bot.id not in refused]
        capacity = capacity_of(group)
        drained = snapshot.leaving.intersection(family.pools)
        if drained:
            broken.append(f"{name}: shards are placed in pools that are drained: {sorted(drained)}")
        wanted = snapshot.more_pools.get(name, 0)
        if len(family.pools) < wanted:
            broken.append(f"{name}: it has {len(family.pools)} pools, at least {wanted} are wanted")
        carried: dict[PoolName, Weight] = dict.fromkeys(family.pools, Weight())
        for shard, weight in enumerate(shard_weights(bots, family.bits, capacity)):
            pools = family.shards[shard]
            if len(set(pools)) != group.shard_replicas:
                broken.append(f"{name}: shard {shard} has {len(pools)} pools, not {group.shard_replicas}")
            for pool in pools:
                carried[pool] += weight
        broken += [f"{name}: {pool} carries {load}" for pool, load in carried.items() if not load.fits(capacity)]
    placed = {family.key for family in placement.families.values()}
    broken += [f"{bot.id}: not placed" for bot in snapshot.bots if bot.id not in refused and bot.key not in placed]
    return broken


def check_step(
    before: RoutingTable, after: RoutingTable, /, quarantined: frozenset[PoolName] = frozenset()
) -> list[str]:
    """Broken promises of one published step.

    A pool that a router of the epoch before would ask must still answer, also a quarantined one, if it can. No shard
    comes to a quarantined pool, and none stays there that is routed elsewhere, too.
    """
    broken = []
    if after.epoch != before.epoch + 1:
        broken.append(f"epoch {before.epoch} is followed by {after.epoch}")
    for name, family in before.families.items():
        now = after.families.get(name)
        if now is None:
            continue  # its last bot was retired: nobody asks for it
        repeat = 1 << (now.bits - family.bits)
        for index, routed in enumerate(now.shards):
            where = f"epoch {after.epoch}, {name}, shard {index}"
            gone = set(family.shards[index // repeat]).difference(now.answering(ShardIndex(index)))
            if gone:
                broken.append(f"{where}: {sorted(gone)} stopped answering at once")
            bad = quarantined.intersection(routed)
            if bad and (len(bad) < len(routed) or not bad.issubset(family.shards[index // repeat])):
                broken.append(f"{where}: routed to {sorted(bad)}, which are quarantined")
    return broken
