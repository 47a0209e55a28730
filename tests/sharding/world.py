"""A small world for the controller to live in: catalog, home, published table, clock. Nothing in it is on time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from botshard.sharding.codec import decode_table, encode_table
from botshard.sharding.fleet import BotLoad, FailedLoad, PoolPhase, PoolStatus, Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import BotId, Epoch, FamilyId, GroupName, PoolName, ShardIndex
from botshard.sharding.invariants import check_placement, check_step, check_table
from botshard.sharding.placement import place
from botshard.sharding.plan import Plan, plan
from botshard.sharding.routing import FamilyRoutes, RoutingTable
from tests.sharding.building import url_of

GRACE_S = 10.0


@dataclass
class World:
    """What is outside the pure core, and what must hold of it after each step."""

    groups: dict[GroupName, PoolGroupSpec]
    bots: dict[BotId, BotLoad] = field(default_factory=dict)
    pools: dict[PoolName, PoolStatus] = field(default_factory=dict)
    warmed: dict[PoolName, Epoch] = field(default_factory=dict)
    tables: list[RoutingTable] = field(default_factory=list)
    """Every table ever published; the last one is in force."""
    leaving: set[PoolName] = field(default_factory=set)
    quarantined: set[PoolName] = field(default_factory=set)
    more_pools: dict[FamilyId, int] = field(default_factory=dict)
    failing: dict[PoolName, dict[BotId, FailedLoad]] = field(default_factory=dict)
    holders: dict[BotId, frozenset[PoolName]] = field(default_factory=dict)
    """Bots whose files are lost, and the pools that have them in memory: no other pool can load them."""
    budget_bots: int = 200
    now_s: float = 1_700_000_000.0

    @property
    def table(self) -> RoutingTable | None:
        """The table in force."""
        return self.tables[-1] if self.tables else None

    def observe(self) -> Snapshot:
        """What a controller that has just started sees: the table only as the store holds it."""
        table = self.table and decode_table(encode_table(self.table))
        return Snapshot(
            dict(self.groups),
            tuple(self.bots.values()),
            table,
            dict(self.pools),
            dict(self.warmed),
            frozenset(self.leaving | self.quarantined),
            dict(self.more_pools),
            self._failures(),
            frozenset(self.quarantined),
        )

    def control(self, *, stops_after: int = 10_000) -> Plan:
        """One round of a controller, killed after so many of its deeds."""
        seen = self.observe()
        wanted = place(seen)
        assert check_placement(wanted, seen) == []
        step = plan(seen, wanted, now_s=self.now_s, grace_s=GRACE_S, budget_bots=self.budget_bots)
        deeds = [("ensure", spec.name) for spec in step.ensure]
        deeds += [("publish", PoolName(""))] if step.table is not None else []
        deeds += [("remove", name) for name in step.remove]
        for deed, name in deeds[:stops_after]:
            if deed == "ensure":
                self.pools.setdefault(name, PoolStatus(name, None, PoolPhase.STARTING))
            elif deed == "remove":
                self._remove(name)
            else:
                assert step.table is not None
                self._publish(step.table)
        return step

    def give_url(self, name: PoolName) -> None:
        """A pool has come up so far that it has an address."""
        self.pools[name] = PoolStatus(name, url_of(name), PoolPhase.READY, 1, 1)

    def warm(self, name: PoolName) -> None:
        """Every replica of a pool holds what the table in force gives it."""
        if self.table is not None and self.pools[name].url is not None:
            self.warmed[name] = self.table.epoch

    def lose(self, name: PoolName) -> None:
        """A pool is gone with everything that was warm in it."""
        self.pools.pop(name)
        self.warmed.pop(name, None)
        self.failing.pop(name, None)

    def settle(self, *, within: int = 12) -> None:
        """In a world that does what it is told, it ends, and ends where placement says.

        Moves wait for their turns, but in each round at least one ends.
        """
        self.failing.clear()
        self.holders.clear()
        seen = self.observe()
        within += plan(seen, place(seen), now_s=self.now_s, grace_s=GRACE_S).moving
        for _ in range(within):
            for name in self.pools:
                self.give_url(name)
                self.warm(name)
            self.now_s += GRACE_S
            step = self.control()
            if step.is_settled and all(status.url for status in self.pools.values()):
                break
        else:
            raise AssertionError(f"not settled after {within} rounds: {step.waiting}")
        self._check_settled()

    def _check_settled(self) -> None:
        seen = self.observe()
        wanted = place(seen)
        table = self.table
        assert table is not None
        assert set(table.families) == set(wanted.families)
        assert set(self.pools) == set(table.pools)
        for name, family in table.families.items():
            placed = wanted.families[name]
            assert (family.shards, family.bits) == (placed.shards, placed.bits)
            assert not family.targets
            assert not family.lingering
        assert not (self.leaving | self.quarantined).intersection(table.pools), "a drained pool is still in the table"
        refused = {refusal.bot for refusal in wanted.refused}
        for bot in self.bots.values():
            if bot.id not in refused:
                (routes,) = [family for family in table.families.values() if family.key == bot.key]
                assert len(table.lookup(routes.id, bot.hash)) == self.groups[bot.key.group].shard_replicas

    def _publish(self, table: RoutingTable) -> None:
        before = self.table
        assert check_table(table) == []
        assert decode_table(encode_table(table)) == table
        if before is not None:
            assert check_step(before, table, frozenset(self.quarantined)) == []
            self._check_that_every_bot_is_answered(before, table)
            self._check_that_new_pools_are_warm(before, table)
            self._check_that_no_bot_is_lost(before, table)
            self._check_that_the_budget_is_kept(before, table)
        assert all(family.key.group in self.groups for family in table.families.values())
        self.tables.append(table)

    def _check_that_every_bot_is_answered(self, before: RoutingTable, after: RoutingTable) -> None:
        """By each pool that a router of the epoch before would ask, and by one at least."""
        for bot in self.bots.values():
            for family in before.families.values():
                if family.key != bot.key or family.id not in after.families:
                    continue
                asked = before.lookup(family.id, bot.hash)
                assert asked
                assert all(after.owns(route.name, family.id, bot.hash) for route in asked)
                assert after.lookup(family.id, bot.hash)

    def _check_that_new_pools_are_warm(self, before: RoutingTable, after: RoutingTable) -> None:
        """A realtime pool is routed to only when it has loaded the shard and has had it ever since."""
        for name, family in after.families.items():
            old = before.families.get(name)
            if old is None or not self.groups[family.key.group].realtime:
                continue
            for shard, pools in enumerate(family.shards):
                was = set(_shards_of(old, shard, family.bits)[0])
                if was <= self.quarantined:
                    continue
                for pool in set(pools).difference(was):
                    since = self.warmed[pool]
                    for table in self.tables[since - 1 :]:
                        answering = _shards_of(table.families[name], shard, family.bits)[1]
                        assert pool in answering, f"{pool} was warm for epoch {since}, not for shard {shard}"

    def _check_that_no_bot_is_lost(self, before: RoutingTable, after: RoutingTable) -> None:
        """A bot that is served somewhere is not routed to a pool that cannot load it."""
        failures = self._failures()

        def fails(pool: PoolName, bot: BotId, *, everywhere: bool) -> bool:
            failure = failures.get(pool, {}).get(bot)
            return failure is not None and (failure.everywhere or not everywhere)

        for bot in self.bots.values():
            for name, family in after.families.items():
                if family.key != bot.key or name not in before.families or not self.groups[bot.key.group].realtime:
                    continue
                was = {route.name for route in before.lookup(name, bot.hash)} - self.quarantined
                served = [pool for pool in was if not fails(pool, bot.id, everywhere=True)]
                for route in after.lookup(name, bot.hash):
                    assert not served or route.name in was or not fails(route.name, bot.id, everywhere=False)

    def lose_files(self, bots: Iterable[BotId]) -> None:
        """From now on only those pools have these bots that are routed to for them."""
        table = self.table
        for bot in bots:
            load = self.bots[bot]
            families = [family for family in table.families.values() if family.key == load.key] if table else []
            routed = [route.name for family in families if table for route in table.lookup(family.id, load.hash)]
            self.holders[bot] = frozenset(routed)

    def _failures(self) -> dict[PoolName, dict[BotId, FailedLoad]]:
        failures = {name: dict(bots) for name, bots in self.failing.items()}
        for name in self.pools:
            lost = [bot for bot, holders in self.holders.items() if name not in holders]
            failures.setdefault(name, {}).update(dict.fromkeys(lost, FailedLoad("lost", everywhere=True)))
        return failures

    def _check_that_the_budget_is_kept(self, before: RoutingTable, after: RoutingTable) -> None:
        """What begins to warm in a pool, with what it has not warmed yet, is within the budget or one shard alone.

        A bot that fits into no pool is loaded by none.
        """
        for name, family in after.families.items():
            old = before.families.get(name)
            if old is None or not self.groups[family.key.group].realtime:
                continue
            most = self.groups[family.key.group].pool_memory_bytes
            mine = [bot for bot in self.bots.values() if bot.key == family.key and bot.footprint_bytes <= most]
            begun: dict[PoolName, list[int]] = {}
            earlier: dict[PoolName, int] = {}
            for shard, target in family.targets.items():
                bots = sum(bot.hash >> (64 - family.bits) == shard for bot in mine)
                for pool in set(target.pools).difference(family.shards[shard]):
                    if target.since == after.epoch:
                        begun.setdefault(pool, []).append(bots)
                    elif target.since > self.warmed.get(pool, 0):
                        earlier[pool] = earlier.get(pool, 0) + bots
            for pool, counts in begun.items():
                is_alone = not earlier.get(pool) and sum(count > 0 for count in counts) <= 1
                assert not any(counts) or is_alone or sum(counts) + earlier.get(pool, 0) <= self.budget_bots

    def _remove(self, name: PoolName) -> None:
        """Nobody asks it any more: no table names it, and a router of the epoch before had left it."""
        now = self.tables[-1]
        assert name not in now.pools, f"{name} is removed while the table of epoch {now.epoch} names it"
        for before in self.tables[-2:-1]:
            for family in before.families.values():
                if family.id in now.families:
                    assert all(name not in pools for pools in family.shards), f"{name} is removed, epoch {before.epoch}"
        self.pools.pop(name, None)
        self.warmed.pop(name, None)
        self.failing.pop(name, None)


def _shards_of(family: FamilyRoutes, shard: int, bits: int) -> tuple[tuple[PoolName, ...], tuple[PoolName, ...]]:
    """Routed and answering pools of a shard that is counted with more bits than the family had then."""
    index = ShardIndex(shard >> (bits - family.bits))
    return family.shards[index], family.answering(index)
