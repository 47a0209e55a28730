"""Random lives of a fleet: whatever happens, in whatever order, nothing is lost and it ends where it should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import FailedLoad
from botshard.sharding.ids import Framework, GroupName
from tests.sharding.building import LAZY, MIB, REALTIME, TORCH, group, load
from tests.sharding.world import GRACE_S, World

KEYS = [TORCH, FamilyKey(REALTIME, Framework("torch"), "minilm"), FamilyKey(LAZY, Framework("torch"))]
sizes = st.sampled_from([0, MIB // 10, MIB, 3 * MIB, 6 * MIB, 11 * MIB])
bounds = st.fixed_dictionaries(
    {},
    optional={
        "shard_replicas": st.integers(1, 3),
        "bots_per_pool": st.sampled_from([4, 20, 100]),
        "pool_memory_bytes": st.sampled_from([10, 30, 100]).map(lambda count: count * MIB),
        "request_timeout_s": st.sampled_from([1.0, 10.0]),
    },
)

FAILURES = [
    FailedLoad("broken", everywhere=True),
    FailedLoad("broken", everywhere=False),
    FailedLoad(None, everywhere=False),
]


class Fleet(RuleBasedStateMachine):
    """Publish, retire, measure, regroup, drain, quarantine, add, lose, fail, crash, wait: in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World({name: group(name) for name in (REALTIME, LAZY)})
        self.published = 0

    @initialize(count=st.integers(1, 40), key=st.sampled_from(KEYS))
    def begin(self, count: int, key: FamilyKey) -> None:
        """Somebody has bots already."""
        self.publish(count, key, MIB)
        self.world.control()

    @rule(count=st.integers(1, 40), key=st.sampled_from(KEYS), footprint_bytes=sizes)
    def publish(self, count: int, key: FamilyKey, footprint_bytes: int) -> None:
        """New bots."""
        for _ in range(count):
            bot = load(f"bot-{self.published}", key, footprint_bytes=footprint_bytes)
            self.world.bots[bot.id] = bot
            self.published += 1

    @rule(data=st.data(), share=st.sampled_from([0.1, 0.5, 1.0]))
    def retire(self, data: st.DataObject, share: float) -> None:
        """Some bots go, or all of a family."""
        key = data.draw(st.sampled_from(KEYS))
        mine = [bot.id for bot in self.world.bots.values() if bot.key == key]
        for name in mine[: int(len(mine) * share)]:
            del self.world.bots[name]

    @rule(factor=st.sampled_from([0.5, 0.9, 1.1, 2.0]), every=st.integers(1, 3))
    def measure(self, factor: float, every: int) -> None:
        """Footprints turn out otherwise."""
        for position, (name, bot) in enumerate(list(self.world.bots.items())):
            if position % every == 0:
                self.world.bots[name] = replace(bot, footprint_bytes=int(bot.footprint_bytes * factor))

    @rule(name=st.sampled_from([REALTIME, LAZY]), changes=bounds)
    def change_group(self, name: GroupName, changes: dict[str, Any]) -> None:
        """An operator edits a pool group."""
        self.world.groups[name] = replace(self.world.groups[name], **changes)

    @precondition(lambda self: self.world.table is not None and self.world.table.pools)
    @rule(data=st.data())
    def drain_a_pool(self, data: st.DataObject) -> None:
        """An operator wants a pool to be left."""
        assert self.world.table is not None
        self.world.leaving.add(data.draw(st.sampled_from(sorted(self.world.table.pools))))

    @precondition(lambda self: self.world.leaving)
    @rule(data=st.data())
    def do_not_drain_it_after_all(self, data: st.DataObject) -> None:
        """At whatever point its drain has come to."""
        self.world.leaving.discard(data.draw(st.sampled_from(sorted(self.world.leaving))))

    @precondition(lambda self: self.world.table is not None and self.world.table.pools)
    @rule(data=st.data())
    def quarantine_a_pool(self, data: st.DataObject) -> None:
        """An operator wants a pool to be asked by nobody, now."""
        assert self.world.table is not None
        self.world.quarantined.add(data.draw(st.sampled_from(sorted(self.world.table.pools))))

    @precondition(lambda self: self.world.quarantined)
    @rule(data=st.data())
    def do_not_quarantine_it_after_all(self, data: st.DataObject) -> None:
        """It was something else."""
        self.world.quarantined.discard(data.draw(st.sampled_from(sorted(self.world.quarantined))))

    @precondition(lambda self: self.world.pools and self.world.bots)
    @rule(data=st.data(), every=st.integers(1, 4), failure=st.sampled_from(FAILURES))
    def bots_do_not_load(self, data: st.DataObject, every: int, failure: FailedLoad) -> None:
        """Some bots cannot be loaded by a pool, or not by all replicas of it, or have not been yet."""
        name = data.draw(st.sampled_from(sorted(self.world.pools)))
        self.world.failing[name] = dict.fromkeys(list(self.world.bots)[::every], failure)

    @precondition(lambda self: self.world.table is not None and self.world.bots)
    @rule(every=st.integers(1, 6))
    def files_are_lost(self, every: int) -> None:
        """Some bots can be loaded nowhere any more; the pools that serve them have them in memory."""
        self.world.lose_files(list(self.world.bots)[::every])

    @precondition(lambda self: self.world.failing)
    @rule(data=st.data())
    def bots_load_after_all(self, data: st.DataObject) -> None:
        """A replica tries again, and can."""
        self.world.failing.pop(data.draw(st.sampled_from(sorted(self.world.failing))))

    @rule(bots=st.sampled_from([1, 5, 30, 200]))
    def change_the_budget(self, bots: int) -> None:
        """The next controller may move fewer or more at a time."""
        self.world.budget_bots = bots

    @precondition(lambda self: self.world.table is not None and self.world.table.families)
    @rule(data=st.data(), count=st.integers(0, 6))
    def add_pools(self, data: st.DataObject, count: int) -> None:
        """An operator wants a family to have some pools at least; 0: no more than it needs."""
        assert self.world.table is not None
        self.world.more_pools[data.draw(st.sampled_from(sorted(self.world.table.families)))] = count

    @precondition(lambda self: self.world.pools)
    @rule(data=st.data())
    def lose_a_pool(self, data: st.DataObject) -> None:
        """A machine dies."""
        self.world.lose(data.draw(st.sampled_from(sorted(self.world.pools))))

    @precondition(lambda self: self.world.pools)
    @rule(data=st.data())
    def pools_come_up(self, data: st.DataObject) -> None:
        """Some pools get their address."""
        for name in data.draw(st.sets(st.sampled_from(sorted(self.world.pools)))):
            self.world.give_url(name)

    @precondition(lambda self: self.world.pools)
    @rule(data=st.data())
    def pools_warm_up(self, data: st.DataObject) -> None:
        """Some pools have loaded their bots."""
        for name in data.draw(st.sets(st.sampled_from(sorted(self.world.pools)))):
            self.world.warm(name)

    @rule(seconds=st.sampled_from([-86_400.0, -1.0, 0.0, 1.0, GRACE_S, 86_400.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        """Forward, and back."""
        self.world.now_s += seconds

    @rule(deeds=st.integers(0, 12))
    def a_controller_dies(self, deeds: int) -> None:
        """After some of its deeds; the next one knows only what the store and the home hold."""
        self.world.control(stops_after=deeds)

    @rule(rounds=st.integers(1, 3))
    def a_controller_works(self, rounds: int) -> None:
        """Round after round."""
        for _ in range(rounds):
            self.world.control()

    @rule(rounds=st.integers(2, 5))
    def the_fleet_does_what_it_is_told(self, rounds: int) -> None:
        """Pools come up and warm, graces end; what cannot be loaded stays so."""
        for _ in range(rounds):
            for name in self.world.pools:
                self.world.give_url(name)
                self.world.warm(name)
            self.world.now_s += GRACE_S
            self.world.control()

    @rule()
    def everything_calms_down(self) -> None:
        """It settles where placement says, from wherever it was."""
        self.world.settle()

    @invariant()
    def every_pool_in_the_table_can_be_made_again(self) -> None:
        """Every routed pool has a URL."""
        table = self.world.table
        assert table is None or all(route.url for route in table.pools.values())

    def teardown(self) -> None:
        """Whatever state a life ended in, it can still settle."""
        if self.world.table is not None or self.world.bots:
            self.world.settle()


Fleet.TestCase.settings = settings(
    deadline=None,
    max_examples=30,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestFleet = Fleet.TestCase
TestFleet.__doc__ = "Every random life keeps every promise after each step, and settles."
