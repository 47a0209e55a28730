"""What waits for a model's thread: the next batch is what arrived meanwhile, and everybody gets their own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botshard.oip.errors import InvalidInputError
from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import Array, Tensor
from botshard.processing.pipeline import Pipeline
from botshard.sharding.catalog import BotSpec, FamilyKey, TensorSpec, Version
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId, VersionNumber
from kserve_runtimes.core.asked import Call, Run, Times
from kserve_runtimes.core.batches import Batches
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.errors import DeadlineExceededError, PredictFailedError, TooLateError
from kserve_runtimes.core.model import Model, Together
from kserve_runtimes.core.resident import Slot
from kserve_runtimes.core.room import Claim
from tests.waiting import aeventually

_TENSORS = (TensorSpec("x", "FP32", (-1, 1)),)
_BAD = 13.0
"""A value that no model takes."""
_WORSE = 17.0
"""A value that brings down the whole batch."""


class _Gate:
    """Holds models up, and sees what they are given at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[float]] = []

    def pass_(self, values: list[float]) -> None:
        """Through the gate."""
        self.batches.append(values)
        self.entered.release()
        assert self.open.wait(10)


class _Times:
    """Multiplies by its factor."""

    footprint_bytes = 1

    def __init__(self, factor: float, gate: _Gate, together: Together | None) -> None:
        self.factor, self.gate, self.together = factor, gate, together

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """One request."""
        self.gate.pass_(inputs["x"].ravel().tolist())
        return self.times(inputs["x"])

    def times(self, x: Array) -> Mapping[str, Array]:
        """The product."""
        if _BAD in x:
            raise InvalidInputError("x", "is bad luck")
        if _WORSE in x:
            raise ValueError("worse")
        return {"y": x * np.float32(self.factor)}


class _All:
    """Runs them together."""

    def __init__(self, gate: _Gate) -> None:
        self.gate = gate

    def predict(
        self, models: Sequence[Model], inputs: Sequence[Mapping[str, Array]], /
    ) -> Sequence[Mapping[str, Array] | Exception]:
        """Each its own."""
        self.gate.pass_([value for given in inputs for value in given["x"].ravel().tolist()])
        if any(_WORSE in given["x"] for given in inputs):
            raise ValueError("one of them was worse")
        return [_or_error(model, given) for model, given in zip(models, inputs, strict=True)]


def _or_error(model: Model, given: Mapping[str, Array]) -> Mapping[str, Array] | Exception:
    assert isinstance(model, _Times)
    try:
        return model.times(given["x"])
    except InvalidInputError as error:
        return error


class _Asked:
    """A request for one bot."""

    is_small = True

    def __init__(self, *values: float, deadline_s: float | None = None) -> None:
        self.call = Call("any")
        self.values = values
        self.is_over = False
        self.deadline_s = monotonic() + 60 if deadline_s is None else deadline_s
        self.answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        if not self.values:
            raise InvalidInputError("x", "is empty")
        return InferenceRequest({"x": Tensor.of("x", np.array(self.values, np.float32).reshape(-1, 1))})

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> object:
        return outputs["y"].numpy().ravel().tolist()

    def answered(self, encoded: object, bot: LoadedBot, times: Times, /) -> None:
        assert isinstance(encoded, list)
        self.answer.set_result(encoded)

    def failed(self, error: Exception, /) -> None:
        self.answer.set_exception(error)


def _bot(name: str, factor: float, gate: _Gate, together: Together | None) -> LoadedBot:
    outputs = (TensorSpec("y", "FP32", (-1, 1)),)
    names = BotId(name), TenantId("acme"), GroupName("realtime"), Framework("torch")
    key = FamilyKey(GroupName("realtime"), Framework("torch"))
    version = Version(VersionNumber(1), "0" * 64, 1, key, 0)
    pipeline = Pipeline(_TENSORS, outputs, (), (), (), ())
    return LoadedBot(
        version=version,
        spec=BotSpec(*names, _TENSORS, outputs, {}),
        pipeline=pipeline,
        model=_Times(factor, gate, together),
    )


class _World:
    """Some bots and the lines in front of a thread."""

    def __init__(self, *, threads: int = 1) -> None:
        self.gate = _Gate()
        self.together = _All(self.gate)
        self.executor = ThreadPoolExecutor(threads)
        self.batches = Batches(self.executor, threads=threads, ended=self._ended)
        self.ended: list[Run] = []
        self.costs: dict[BotId, BotCosts] = {}

    def bot(self, factor: float, *, alone: bool = False) -> LoadedBot:
        """A bot that multiplies."""
        return _bot(f"b{factor:g}", factor, self.gate, None if alone else self.together)

    def ask(self, bot: LoadedBot, asked: _Asked) -> _Asked:
        """Put it in line."""
        self.batches.add(Run(asked, Slot(bot, Claim(0)), self.costs.setdefault(bot.id, BotCosts()), perf_counter()))
        return asked

    def usually(self, bot: LoadedBot, work_s: float) -> None:
        """What requests of a bot have taken so far."""
        self.costs.setdefault(bot.id, BotCosts()).work_s = work_s

    def _ended(self, run: Run, cpu_s: float) -> None:
        assert cpu_s >= 0
        self.ended.append(run)
        assert isinstance(run.asked, _Asked)
        if run.error is not None:
            run.asked.failed(run.error)
        elif run.is_begun:
            run.asked.answered(run.encoded, run.bot, run.times)

    async def hold(self) -> _Asked:
        """A request that holds the thread until the gate is opened."""
        self.gate.open.clear()
        held = self.ask(self.bot(1), _Asked(-1))
        await asyncio.to_thread(self.gate.entered.acquire)
        return held


@pytest.fixture
async def world() -> _World:
    """One thread."""
    return _World()


async def test_what_arrives_while_a_batch_runs_is_the_next(world: _World) -> None:
    """The first waits for nobody; all others of any bot that can share are one batch, answers matched."""
    held = await world.hold()
    bots = [world.bot(factor) for factor in (2, 3, 5)]
    asked = [world.ask(bots[number % 3], _Asked(number, number + 0.5)) for number in range(9)]
    world.gate.open.set()
    assert await held.answer == [-1]
    for number, one in enumerate(asked):
        factor = (2, 3, 5)[number % 3]
        assert await one.answer == [number * factor, (number + 0.5) * factor]
    assert [len(batch) for batch in world.gate.batches] == [1, 18]
    assert {run.times.batch_rows for run in world.ended} == {1, 18}


async def test_models_that_cannot_share_take_turns(world: _World) -> None:
    """A line of a thousand for one encoder does not keep a program from its turn."""
    held = await world.hold()
    many = [world.ask(world.bot(2), _Asked(number)) for number in range(100, 300)]
    alone = [world.ask(world.bot(3, alone=True), _Asked(number)) for number in (1001, 1002)]
    world.gate.open.set()
    await asyncio.gather(held.answer, *[one.answer for one in (*many, *alone)])
    sizes = [len(batch) for batch in world.gate.batches]
    assert sizes == [1, 64, 1, 1, 64, 64, 8]


async def test_nobody_works_for_those_who_left(world: _World) -> None:
    """A request that is over when its turn comes is not begun, one whose deadline has passed is told so."""
    held = await world.hold()
    gone, late, here = _Asked(5), _Asked(6, deadline_s=0.0), _Asked(7)
    for asked in (gone, late, here):
        world.ask(world.bot(2), asked)
    gone.is_over = True
    world.gate.open.set()
    assert await held.answer == [-1]
    assert await here.answer == [14]
    with pytest.raises(DeadlineExceededError):
        await late.answer
    assert world.gate.batches == [[-1], [7]]
    assert len(world.ended) == 4, "each is given back"


async def test_who_could_not_begin_in_time_is_told_at_once(world: _World) -> None:
    """By what bots usually take; a line of its own, whose turn comes soon, is waited for; so is what nobody knows."""
    held = await world.hold()
    slow, other, unknown = world.bot(2), world.bot(3, alone=True), world.bot(4, alone=True)
    world.usually(slow, 0.25)
    many = [world.ask(slow, _Asked(number)) for number in range(100, 300)]
    late = world.ask(slow, _Asked(1, deadline_s=monotonic() + 40))
    with pytest.raises(TooLateError, match="take about 50 s, and this one has 40 s left") as refused:
        await late.answer
    assert refused.value.retry_after_s == 30.0, "nobody is sent away for longer"
    assert world.batches.expected_s == pytest.approx(50.0)
    patient = [world.ask(other, _Asked(7, deadline_s=monotonic() + 40)), world.ask(unknown, _Asked(7))]
    world.gate.open.set()
    assert await asyncio.gather(*[one.answer for one in patient]) == [[21], [28]]
    await asyncio.gather(held.answer, *[one.answer for one in many])
    assert world.batches.expected_s == 0


async def test_an_idle_thread_is_never_too_late(world: _World) -> None:
    """However long a bot usually takes: only those in front count, and what is there is tried."""
    bot = world.bot(2)
    world.usually(bot, 1000.0)
    assert await world.ask(bot, _Asked(3, deadline_s=monotonic() + 1)).answer == [6]


async def test_whatever_brings_a_batch_down_is_one_requests_fault(world: _World) -> None:
    """When a batch as a whole fails, each request is tried alone, and one fails."""
    held = await world.hold()
    good, worse = world.ask(world.bot(2), _Asked(1)), world.ask(world.bot(2), _Asked(_WORSE))
    world.gate.open.set()
    assert await held.answer == [-1]
    assert await good.answer == [2]
    with pytest.raises(PredictFailedError, match="worse"):
        await worse.answer


_mixes = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.booleans(),
        st.lists(st.sampled_from([0.0, 1.0, 2.5, _BAD, _WORSE]), max_size=3),
        st.sampled_from(["", "", "", "leaves", "is late"]),
    ),
    max_size=30,
)


@given(mix=_mixes, threads=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_every_mix_ends_with_an_answer_or_a_reason_for_each(
    mix: list[tuple[int, bool, list[float], str]], threads: int
) -> None:
    """Bots that share and that do not, rows that fail in any stage, clients that leave: nobody gets others' answers."""
    asyncio.run(_run_mix(mix, threads))


async def _run_mix(mix: list[tuple[int, bool, list[float], str]], threads: int) -> None:
    world = _World(threads=threads)
    bots = {(factor, alone): world.bot(factor, alone=alone) for factor, alone, _, _ in mix}
    world.gate.open.clear()
    asked = []
    for factor, alone, values, fate in mix:
        one = world.ask(bots[factor, alone], _Asked(*values, deadline_s=0.0 if fate == "is late" else None))
        one.is_over = fate == "leaves"
        asked.append(one)
    world.gate.open.set()

    async def all_ended() -> bool:
        return len(world.ended) == len(mix)

    await aeventually(all_ended)
    for one, (factor, _, values, fate) in zip(asked, mix, strict=True):
        if one.is_over and not one.answer.done():
            continue
        error = one.answer.exception()
        if fate == "is late":
            assert isinstance(error, DeadlineExceededError)
        elif not values or _BAD in values:
            assert isinstance(error, InvalidInputError)
        elif _WORSE in values:
            assert isinstance(error, PredictFailedError)
        else:
            assert one.answer.result() == [value * factor for value in values]
    world.executor.shutdown()
