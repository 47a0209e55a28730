"""Quick requests of one turn of the event loop, run stage by stage: all are decoded, all predicted, all encoded.

A stage runs warm for all requests but the first; one request after the other through all stages would cost nearly twice
as much, since the stages take each other's place in the processor's caches. A lone request waits for nobody: its turn
ends when the loop has read what has arrived.

Batching would go in here: `_predict` sees every bot and its inputs that wait at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Final, Protocol

from botshard.http1.answers import Answer
from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import Tensor
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.core.resident import Slot

__all__ = ["QuickRequest", "Turns"]

_AT_ONCE: Final = 32
"""Requests of one turn; others wait for the next, so that health and new connections come between."""


class QuickRequest(Protocol):
    """What a turn wants of a request."""

    is_over: bool

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The body as inputs."""
        ...

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> Answer:
        """The answer."""
        ...

    def failed(self, error: Exception, /) -> Answer:
        """The answer when a stage raised."""
        ...

    def answer(self, answer: Answer, /) -> None:
        """Send it."""


class _Run:
    """One request on its way through a turn."""

    __slots__ = ("bot", "decoded", "outputs", "request", "slot", "wall_s")

    decoded: InferenceRequest
    outputs: Mapping[str, Tensor]

    def __init__(self, request: QuickRequest, slot: Slot) -> None:
        self.request = request
        self.slot = slot
        self.bot = slot.bot
        self.wall_s = 0.0


class Turns:
    """The requests that wait for the end of this turn."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Run] = []

    def add(self, request: QuickRequest, slot: Slot, /) -> None:
        """Run `request` at the end of this turn; `slot` is pinned, and is given back here."""
        if not self._waiting:
            self._loop.call_soon(self._run)
        self._waiting.append(_Run(request, slot))

    def _run(self) -> None:
        runs, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        if self._waiting:
            self._loop.call_soon(self._run)
        for run in self._predict(self._decode(runs)):
            started_s = perf_counter()
            try:
                answer = run.request.encode(run.bot, run.outputs, run.decoded)
            except Exception as error:  # noqa: BLE001 - of this request alone
                answer = run.request.failed(error)
            run.wall_s += perf_counter() - started_s
            self._end(run, answer)

    def _decode(self, runs: list[_Run]) -> list[_Run]:
        """Those whose bodies are what their bots take; the others are answered."""
        found = []
        for run in runs:
            if run.request.is_over:
                self._inference.unpin(run.slot)
                continue
            started_s = perf_counter()
            try:
                run.decoded = run.request.decode(run.bot)
            except Exception as error:  # noqa: BLE001 - of this request alone
                self._end(run, run.request.failed(error))
                continue
            run.wall_s = perf_counter() - started_s
            found.append(run)
        return found

    def _predict(self, runs: list[_Run]) -> list[_Run]:
        """Those that have outputs; the others are answered."""
        found = []
        for run in runs:
            started_s = perf_counter()
            try:
                run.outputs = run.bot.predict(run.decoded.inputs)
            except Exception as error:  # noqa: BLE001 - of this request alone
                self._end(run, run.request.failed(error))
                continue
            run.wall_s += perf_counter() - started_s
            found.append(run)
        return found

    def _end(self, run: _Run, answer: Answer) -> None:
        self._inference.unpin(run.slot)
        self._inference.note_here(run.bot, run.wall_s)
        run.request.answer(answer)
