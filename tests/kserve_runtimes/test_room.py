"""Who waits for memory, who leaves for whom, and who never does; on an event loop, without a process."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from botshard.oip.tensors import Array
from botshard.processing.pipeline import Pipeline
from botshard.sharding.catalog import BotSpec, FamilyKey, TensorSpec, Version
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber
from botshard.sharding.residency import Residency
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import LoadFailedError, NoRoomError, UnknownBotError
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.residents import Residents
from kserve_runtimes.core.room import MemoryBounds
from tests.waiting import aeventually

KEY = FamilyKey(GroupName("batch"), Framework("torch"))
MODEL_BYTES = 10_000
"""So large that the bytes of the empty steps, some hundred, do not matter."""
A, B, C, D = (BotId(name) for name in "abcd")


class _Model:
    """A model of a given size."""

    together = None

    def __init__(self, footprint_bytes: int) -> None:
        self.footprint_bytes = footprint_bytes

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """What came."""
        return inputs


class _Shelf:
    """Bots to load: how large each is, which fail, and a gate before all of them."""

    def __init__(self) -> None:
        self.sizes: dict[BotId, int] = {}
        self.broken: set[BotId] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.loads: list[BotId] = []
        self.shared_bytes = 0

    def __call__(self, bot_id: BotId, version: Version, /) -> LoadedBot:
        """The bot."""
        assert self.gate.wait(10)
        self.loads.append(bot_id)
        if bot_id in self.broken:
            raise ValueError(bot_id)
        tensors = (TensorSpec("x", "FP32", (-1, 1)),)
        spec = BotSpec(bot_id, TenantId("acme"), KEY.group, KEY.framework, tensors, tensors, {})
        pipeline = Pipeline(tensors, tensors, (), (), (), ())
        bot = LoadedBot(
            version=version, spec=spec, pipeline=pipeline, model=_Model(self.sizes.get(bot_id, MODEL_BYTES))
        )
        bot.shared_bytes = self.shared_bytes
        return bot


async def _until(check: Callable[[], bool]) -> None:
    async def checked() -> bool:
        return check()

    await aeventually(checked)


def _version(number: int = 1) -> Version:
    return Version(VersionNumber(number), f"{number:064x}", MODEL_BYTES, KEY, 0)


@pytest.fixture
def shelf() -> _Shelf:
    """Bots of equal size."""
    return _Shelf()


@pytest_asyncio.fixture
async def residents(shelf: _Shelf) -> AsyncIterator[Residents]:
    """A replica with the bots a … d and room for two and a half of them."""
    with ThreadPoolExecutor(2) as executor:
        residents = Residents(
            shelf,
            executor=executor,
            loaders=2,
            metrics=Metrics(CollectorRegistry()),
            memory=MemoryBounds(budget_bytes=MODEL_BYTES * 5 // 2),
        )
        residents.assign(dict.fromkeys((A, B, C, D), _version()), eager=False, rates={})
        yield residents
        shelf.gate.set()


async def _ask(residents: Residents, *bots: BotId) -> None:
    for bot_id in bots:
        residents.unpin(bot_id, await residents.pin(bot_id))


def _resident(residents: Residents) -> set[BotId]:
    return {entry.id for entry in residents if entry.state is Residency.RESIDENT}


async def test_the_least_asked_bot_leaves_for_one_that_is_asked_for(residents: Residents) -> None:
    """And what is in memory never exceeds the budget."""
    await _ask(residents, A, A, A, B, C)
    assert _resident(residents) == {A, C}
    assert residents.footprint_bytes <= MODEL_BYTES * 5 // 2
    assert residents.counts()[Residency.ABSENT] == 2


async def test_what_bots_share_counts_once(residents: Residents, shelf: _Shelf) -> None:
    """It takes room from the first bot on, however many come after; it stays when they leave."""
    shelf.shared_bytes = MODEL_BYTES
    await _ask(residents, A, B, C)
    assert _resident(residents) == {C}
    assert 2 * MODEL_BYTES <= residents.footprint_bytes <= MODEL_BYTES * 5 // 2
    residents.evict(C)
    assert residents.footprint_bytes == MODEL_BYTES


async def test_a_bot_in_use_never_leaves(residents: Residents) -> None:
    """However rarely it was asked: the other one leaves, though it was asked more often."""
    slot = await residents.pin(A)
    await _ask(residents, B, B, B, C)
    assert _resident(residents) == {A, C}
    residents.unpin(A, slot)


async def test_a_load_waits_until_a_bot_is_not_in_use_any_more(residents: Residents) -> None:
    """Nothing fails: the load goes on as soon as a request ends."""
    one, two = await residents.pin(A), await residents.pin(B)
    waiting = asyncio.create_task(residents.pin(C))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    residents.unpin(B, two)
    third = await asyncio.wait_for(waiting, 5)
    assert _resident(residents) == {A, C}
    residents.unpin(A, one)
    residents.unpin(C, third)


async def test_whoever_waits_past_his_deadline_is_told_that_there_is_no_room(residents: Residents) -> None:
    """He may come again; the load keeps its turn, and the bots in use never notice."""
    one, two = await residents.pin(A), await residents.pin(B)
    with pytest.raises(NoRoomError) as refused:
        await residents.pin(C, deadline_s=asyncio.get_running_loop().time() + 0.2)
    assert refused.value.retry_after_s == 1.0
    residents.unpin(A, one)
    await _until(lambda: C in _resident(residents))
    residents.unpin(B, two)


async def test_a_load_that_takes_long_is_not_for_want_of_room(residents: Residents, shelf: _Shelf) -> None:
    """Whoever gives up on it does so by his own deadline."""
    shelf.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await residents.pin(A, deadline_s=asyncio.get_running_loop().time() + 0.1)
    shelf.gate.set()


async def test_loads_of_a_crowd_each_take_their_turn(residents: Residents, shelf: _Shelf) -> None:
    """Forty requests for four bots with room for two: all are served, none of them alone in memory for ever."""

    async def use(bot_id: BotId) -> None:
        slot = await residents.pin(bot_id)
        await asyncio.sleep(0.001)
        residents.unpin(bot_id, slot)

    await asyncio.wait_for(asyncio.gather(*(use(bot_id) for bot_id in (A, B, C, D) * 10)), 10)
    assert set(shelf.loads) == {A, B, C, D}


async def test_a_bot_larger_than_its_files_said_gets_room_by_its_measure(residents: Residents, shelf: _Shelf) -> None:
    """Where others are in use it is loaded again when its turn comes, and it never exceeds the budget."""
    shelf.sizes[C] = 2 * MODEL_BYTES
    one = await residents.pin(A)
    waiting = asyncio.create_task(residents.pin(C))
    await _until(lambda: shelf.loads.count(C) == 1)
    assert not waiting.done()
    residents.unpin(A, one)
    residents.unpin(C, await asyncio.wait_for(waiting, 5))
    assert _resident(residents) == {C}
    assert residents.footprint_bytes <= MODEL_BYTES * 5 // 2


async def test_a_load_that_fails_gives_its_room_back(residents: Residents, shelf: _Shelf) -> None:
    """The others fit as before."""
    shelf.broken = {C, D}
    for bot_id in (C, D):
        with pytest.raises(LoadFailedError):
            await residents.pin(bot_id)
    await _ask(residents, A, B)
    assert _resident(residents) == {A, B}


async def test_a_new_version_leaves_the_bots_in_use_alone(residents: Residents) -> None:
    """It takes the room of others or, where they are in use, its own; the next request loads it."""
    one = await residents.pin(A)
    await _ask(residents, B)
    residents.assign({A: _version(), B: _version(2), C: _version(), D: _version()}, eager=False, rates={})
    residents.tick(asyncio.get_running_loop().time())
    slot = await residents.pin(B)
    assert slot.bot.version.number == 2
    residents.unpin(B, slot)
    residents.unpin(A, one)
    assert _resident(residents) == {A, B}


async def test_a_new_version_that_is_larger_than_it_seemed_holds_nobody_up(residents: Residents, shelf: _Shelf) -> None:
    """It is given up and has its turn later; meanwhile the old one answers, and others load as ever."""
    one = await residents.pin(A)
    shelf.sizes[A] = 2 * MODEL_BYTES
    residents.assign({A: _version(2), B: _version(), C: _version(), D: _version()}, eager=False, rates={})
    await _until(lambda: shelf.loads.count(A) == 2)
    await asyncio.wait_for(_ask(residents, B, C), 5)
    residents.unpin(A, one)
    residents.tick(asyncio.get_running_loop().time())
    slot = await asyncio.wait_for(residents.pin(A), 5)
    assert slot.bot.version.number == 2
    residents.unpin(A, slot)
    assert residents.footprint_bytes <= MODEL_BYTES * 5 // 2


async def test_bots_that_are_not_ours_any_more_give_their_room_back(residents: Residents) -> None:
    """At once, or when the requests that use them end."""
    one = await residents.pin(A)
    await _ask(residents, B)
    residents.assign({C: _version(), D: _version()}, eager=False, rates={})
    assert residents.footprint_bytes == one.bot.footprint_bytes
    waiting = asyncio.create_task(_ask(residents, C, D))
    residents.unpin(A, one)
    await asyncio.wait_for(waiting, 5)
    assert _resident(residents) == {C, D}


async def test_a_request_that_gives_up_while_it_waits_takes_no_room(residents: Residents) -> None:
    """The load that it started goes on for whoever comes next; nothing is lost or counted twice."""
    one, two = await residents.pin(A), await residents.pin(B)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await residents.pin(C)
    residents.unpin(A, one)
    residents.unpin(B, two)
    await _ask(residents, D, C, B, A)
    assert residents.footprint_bytes <= MODEL_BYTES * 5 // 2
    await _until(lambda: len(_resident(residents)) == 2)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_nobody_waits_for_ever_and_memory_stays_within_its_bound(
    residents: Residents, shelf: _Shelf, seed: int
) -> None:
    """Requests, publishes of other sizes, shards that go and come, and unloads in any order."""
    draw, bots, budget = random.Random(seed), (A, B, C, D), MODEL_BYTES * 5 // 2
    owned = dict.fromkeys(bots, _version())

    async def use(bot_id: BotId) -> None:
        with suppress(LoadFailedError, UnknownBotError):
            slot = await residents.pin(bot_id)
            assert residents.footprint_bytes <= budget
            await asyncio.sleep(draw.random() * 0.01)
            residents.unpin(bot_id, slot)

    requests = []
    for _ in range(200):
        bot_id = draw.choice(bots)
        match draw.randrange(8):
            case 0:
                shelf.sizes[bot_id] = draw.choice((1, 2)) * MODEL_BYTES
                owned[bot_id] = _version(draw.randrange(1, 99))
                residents.assign(owned, eager=False, rates={})
            case 1:
                residents.assign({A: owned[A], B: owned[B]}, eager=False, rates={})
                residents.assign(owned, eager=False, rates={})
            case 2:
                residents.evict(bot_id)
            case 3:
                residents.tick(asyncio.get_running_loop().time())
            case _:
                requests.append(asyncio.create_task(use(bot_id)))
        await asyncio.sleep(draw.choice((0, 0, 0.001)))
        assert residents.footprint_bytes <= budget
    await asyncio.wait_for(asyncio.gather(*requests), 20)
    for bot_id in bots:
        await asyncio.wait_for(_ask(residents, bot_id), 5)
    residents.assign({}, eager=False, rates={})
    await _until(lambda: residents.footprint_bytes == 0 and not residents.leaving)
    assert residents._room._claimed_bytes == 0
