"""An inference request, however it came, and its way through the stages.

The stages: *pre* (decode, the bot's steps before the model), *predict* (the model, for all that can share a batch at
once), *post* (the steps after it, encode). A stage is run for all requests of a batch before the next: it is warm for
all but the first then, and one request after the other through all stages would cost nearly twice as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic, perf_counter
from typing import Final, NamedTuple, Protocol

from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import Array, Tensor
from botshard.sharding.ids import Epoch
from kserve_runtimes.core.assignment import NO_EPOCH
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.errors import DeadlineExceededError
from kserve_runtimes.core.model import Together
from kserve_runtimes.core.resident import Slot
from kserve_runtimes.core.times import Times

__all__ = ["SMALL_BYTES", "Asked", "Call", "Run", "Times", "run_stages"]


SMALL_BYTES: Final = 16 << 10
"""Bodies up to this are read on the event loop, which takes less time than a thread's turn."""


class Call(NamedTuple):
    """Who is asked, and what the caller said about it."""

    bot_id: str
    version: str | None = None
    """The version in the path; None: whichever is served."""
    epoch: Epoch = NO_EPOCH
    """The epoch that the router routed by; 0: it did not say."""


class Asked(Protocol):
    """What the stages want of a request."""

    call: Call
    deadline_s: float
    """Instant of `time.monotonic` at which nobody waits for it any more."""
    is_over: bool
    """Nobody waits for it any more; it is not begun."""

    @property
    def is_small(self) -> bool:
        """Whether reading it on the event loop takes less time than handing it to a thread."""
        ...

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The inputs. On the loop or on a thread; raises what is wrong with the request."""
        ...

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> object:
        """The answer's body. On the loop or on a thread."""
        ...

    def answered(self, encoded: object, bot: LoadedBot, times: Times, /) -> None:
        """Send what `encode` gave. On the loop; without effect where `is_over`."""

    def failed(self, error: Exception, /) -> None:
        """Send an error. On the loop; without effect where `is_over`."""


class Run:
    """One request on its way, with its bot pinned."""

    __slots__ = (
        "arrays",
        "asked",
        "asked_at_s",
        "bot",
        "costs",
        "decoded",
        "encoded",
        "error",
        "expected_s",
        "is_begun",
        "load_s",
        "outputs",
        "rows",
        "slot",
        "times",
    )

    decoded: InferenceRequest
    rows: int
    arrays: Mapping[str, Array]
    outputs: Mapping[str, Array]
    encoded: object
    times: Times
    """There once it was begun, whatever came of it."""
    expected_s: float
    """What it is expected to take, once it waits for a thread."""

    def __init__(self, asked: Asked, slot: Slot, costs: BotCosts, asked_at_s: float, load_s: float = 0.0) -> None:
        self.asked = asked
        self.slot = slot
        self.bot = slot.bot
        self.costs = costs
        self.asked_at_s = asked_at_s
        """Instant of `time.perf_counter`."""
        self.load_s = load_s
        """How much of the time since then it waited for its bot to be loaded."""
        self.is_begun = False
        self.error: Exception | None = None


def run_stages(runs: Sequence[Run], /) -> None:
    """Run them: each has `encoded` or `error` then, or neither where nobody waited any more. Blocks."""
    begun = _pre(runs)
    _predict(begun)
    _post(begun)


def _pre(runs: Sequence[Run]) -> list[Run]:
    """Those that go on."""
    begun = []
    now_s, before_s = monotonic(), perf_counter()
    for run in runs:
        asked = run.asked
        if asked.is_over:
            continue
        if now_s > asked.deadline_s:
            run.error = DeadlineExceededError(0.0)
            continue
        run.is_begun = True
        run.times = times = Times(before_s - run.asked_at_s - run.load_s, run.load_s)
        times.asked_at_s = run.asked_at_s
        if run.load_s:
            times.split_load(fetched_s=run.bot.fetch_s, made_s=run.bot.made_s)
        try:
            run.decoded = decoded = asked.decode(run.bot)
            run.rows = decoded.rows
            run.arrays = run.bot.before(decoded.inputs)
            begun.append(run)
        except Exception as error:  # noqa: BLE001 - of this request alone
            run.error = error
        after_s = perf_counter()
        times.pre_s = after_s - before_s
        before_s = after_s
    return begun


def _predict(runs: list[Run]) -> None:
    batches: dict[Together, list[Run]] = {}
    for run in runs:
        together = run.bot.together
        if together is None:
            _predict_alone(run)
        elif together in batches:
            batches[together].append(run)
        else:
            batches[together] = [run]
    for together, batch in batches.items():
        if len(batch) == 1:
            _predict_alone(batch[0])
        else:
            _predict_together(together, batch)


def _predict_alone(run: Run) -> None:
    before_s = perf_counter()
    try:
        run.outputs = run.bot.model.predict(run.arrays)
    except Exception as error:  # noqa: BLE001 - of this request alone
        run.error = run.bot.problem(error)
    run.times.predict_s = perf_counter() - before_s
    run.times.batch_rows = run.rows


def _predict_together(together: Together, batch: list[Run]) -> None:
    before_s = perf_counter()
    try:
        results = together.predict([run.bot.model for run in batch], [run.arrays for run in batch])
    except Exception:  # noqa: BLE001 - one of them may be to blame: who fails alone is the one
        for run in batch:
            _predict_alone(run)
        return
    rows = sum([run.rows for run in batch])
    row_s = (perf_counter() - before_s) / rows
    for run, result in zip(batch, results, strict=True):
        if isinstance(result, Exception):
            run.error = run.bot.problem(result)
        else:
            run.outputs = result
        run.times.predict_s = row_s * run.rows
        run.times.batch_rows = rows


def _post(runs: list[Run]) -> None:
    before_s = perf_counter()
    for run in runs:
        if run.error is not None:
            continue
        decoded = run.decoded
        try:
            run.encoded = run.asked.encode(run.bot, run.bot.after(run.outputs, decoded.inputs), decoded)
        except Exception as error:  # noqa: BLE001 - of this request alone
            run.error = error
        after_s = perf_counter()
        run.times.post_s = after_s - before_s
        before_s = after_s
