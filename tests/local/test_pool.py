"""One pool on this machine: what it does when its replicas end, sleep and are woken."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from botshard.local.pool import LocalPool, Replica
from botshard.local.processes import spawn
from botshard.local.zygotes import Zygotes
from botshard.notify import Notice
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import PoolPhase, PoolSpec
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import FamilyId, Framework, GroupName, PoolName
from tests.waiting import aeventually

_GROUP = GroupName("g")
_PAUSES = "import signal; signal.pause()"


@dataclass
class Place:
    """A pool whose orders for replicas are answered by hand: the zygotes are told to start none."""

    pool: LocalPool
    made: list[Replica] = field(default_factory=list)

    def make_ordered(self, code: str) -> list[Replica]:
        """A process for every order, as a zygote would fork it."""
        ordered = [replica for replica in self.pool.replicas.values() if replica.process is None]
        for replica in ordered:
            self.pool.forked(replica.name, spawn([sys.executable, "-S", "-c", code], os.environ))
        self.made += ordered
        return ordered

    def ready(self, replica: Replica) -> None:
        """The replica says that it serves."""
        assert replica.process is not None
        self.pool.notice(replica, Notice(replica.process.pid, ready=True))

    def load(self, replica: Replica, in_flight: int, requests: int) -> None:
        """The replica says how busy it is."""
        assert replica.process is not None
        self.pool.notice(replica, Notice(replica.process.pid, in_flight=in_flight, requests=requests))


@pytest.fixture
async def make_place() -> AsyncIterator[Callable[[PoolGroupSpec], Place]]:
    """Makes pools, and ends their processes."""
    places: list[Place] = []
    loop = asyncio.get_running_loop()

    def make(group: PoolGroupSpec) -> Place:
        zygotes = Zygotes(
            loop,
            {},
            keep=lambda *_: None,
            drop=lambda *_: None,
            forked=lambda *_: None,
            ended=lambda *_: None,
            changed=lambda: None,
        )
        zygotes.close()
        spec = PoolSpec(PoolName("p"), FamilyId("f"), FamilyKey(group.name, Framework("torch")), group)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        places.append(Place(LocalPool(spec, listener, {}, -1, zygotes, loop, lambda: None)))
        return places[-1]

    yield make
    for place in places:
        place.pool.close()
        place.pool.kill()

        async def is_empty(pool: LocalPool = place.pool) -> bool:
            return not any(replica.process for replica in pool.replicas.values())

        await aeventually(is_empty)
        place.pool.listener.close()


def _realtime(replicas: int = 1) -> PoolGroupSpec:
    return PoolGroupSpec(_GROUP, realtime=True, min_replicas=replicas, max_replicas=4, concurrency=10)


async def test_a_replica_that_ends_after_each_ready_is_not_hammered(
    make_place: Callable[[PoolGroupSpec], Place],
) -> None:
    """To say that it serves is not yet to live: pauses grow all the same."""
    place = make_place(_realtime())
    loop = asyncio.get_running_loop()

    async def ended() -> bool:
        return not any(replica.process for replica in place.pool.replicas.values())

    began_s = loop.time()
    for _ in range(4):

        async def ordered() -> bool:
            place.pool.tick()
            return bool(place.pool.replicas)

        await aeventually(ordered)
        for replica in place.make_ordered("raise SystemExit(1)"):
            place.ready(replica)
        await aeventually(ended)
    assert loop.time() - began_s >= 0.2 + 0.4
    assert place.pool.status().phase is PoolPhase.DEGRADED


async def test_what_a_replica_had_in_flight_ends_with_it(make_place: Callable[[PoolGroupSpec], Place]) -> None:
    """A pool that may sleep does, also when its only replica died in the middle of requests."""
    group = PoolGroupSpec(_GROUP, realtime=False, max_replicas=2, concurrency=10, idle_after_s=0.2)
    place = make_place(group)
    place.pool.tick()
    assert place.pool.status().phase is PoolPhase.ASLEEP
    with socket.create_connection(place.pool.listener.getsockname()):

        async def woken() -> bool:
            return bool(place.pool.replicas)

        await aeventually(woken)
        place.pool.listener.accept()[0].close()
    replica = place.make_ordered(_PAUSES)[0]
    place.ready(replica)
    place.load(replica, 5, 5)
    assert place.pool.status().phase is PoolPhase.READY
    place.pool.kill()

    async def asleep() -> bool:
        place.pool.tick()
        return place.pool.status().phase is PoolPhase.ASLEEP

    await aeventually(asleep)


async def test_replicas_follow_what_is_in_flight(make_place: Callable[[PoolGroupSpec], Place]) -> None:
    """Up at once with load; each order is made once."""
    place = make_place(_realtime())
    place.pool.tick()
    first = place.make_ordered(_PAUSES)[0]
    place.ready(first)
    assert place.pool.status().members == (first.name,)
    place.load(first, 25, 25)
    for _ in range(3):
        place.pool.tick()
    assert len(place.pool.replicas) == 3
    assert place.pool.status().phase is PoolPhase.STARTING
    for replica in place.make_ordered(_PAUSES):
        place.ready(replica)
    status = place.pool.status()
    assert (status.phase, status.ready_replicas, len(status.members)) == (PoolPhase.READY, 3, 3)


async def test_old_replicas_are_replaced_one_after_the_other(make_place: Callable[[PoolGroupSpec], Place]) -> None:
    """A new one is ready before an old one goes, never more than one above the floor, and the old ones are gone."""
    place = make_place(_realtime(2))
    pool = place.pool
    pool.tick()
    old = place.make_ordered(_PAUSES)
    for replica in old:
        place.ready(replica)
        assert replica.process is not None
        replica.process.code_ticks = 1
    pool.replace_before_ticks = 2
    for left in (1, 0):
        pool.tick()
        pool.tick()
        (new,) = place.make_ordered(_PAUSES)
        pool.tick()
        assert [replica.stopping for replica in old].count(False) == left + 1
        assert pool.status().phase is PoolPhase.READY
        place.ready(new)
        pool.tick()

        async def is_gone(left: int = left) -> bool:
            return sum(replica.name in pool.replicas for replica in old) == left

        await aeventually(is_gone)
        assert pool.is_newer_than(2) == (left == 0)
    pool.tick()
    assert len(pool.replicas) == 2


async def test_a_new_replica_that_does_not_come_up_replaces_nothing(
    make_place: Callable[[PoolGroupSpec], Place],
) -> None:
    """The old one goes on, the pool is ready, and another one is tried after a pause."""
    place = make_place(_realtime())
    pool = place.pool
    pool.tick()
    (old,) = place.make_ordered(_PAUSES)
    place.ready(old)
    assert old.process is not None
    old.process.code_ticks = 1
    pool.replace_before_ticks = 2
    for _ in range(3):

        async def ordered() -> bool:
            pool.tick()
            return bool(place.make_ordered("raise SystemExit(1)"))

        await aeventually(ordered)

        async def ended() -> bool:
            return [replica for replica in pool.replicas.values() if replica.process] == [old]

        await aeventually(ended)
        assert pool.status().phase is PoolPhase.READY
    assert not old.stopping
