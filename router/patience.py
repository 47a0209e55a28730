"""How long anybody waits for one request: its deadline, and the client's connection.

A context around the forwarding of one request. When the deadline passes or the client goes away, the task inside is
cancelled wherever it waits, and the context turns that into the error that says why; the same way as
`asyncio.timeout` does it. Both cost one timer a request: the client's connection is only watched once the request has
taken `WATCH_AFTER_S`, since most are over before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Final, Self

from botshard.sharding.errors import TransientError
from router.errors import BodyTimeoutError, ClientGoneError, DeadlineError

__all__ = ["Patience"]

WATCH_AFTER_S: Final = 0.05


class Patience:
    """See the module."""

    __slots__ = (
        "_body_is_here",
        "_cancelling",
        "_loop",
        "_receive",
        "_task",
        "_timer",
        "_watch",
        "_watching",
        "deadline_s",
        "is_set",
        "outcome",
        "started_s",
    )

    def __init__(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        *,
        loop: asyncio.AbstractEventLoop,
        budget_s: float,
    ) -> None:
        self._receive = receive
        self._loop = loop
        self._body_is_here = False
        self._watching = False
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self.started_s = loop.time()
        self.deadline_s = self.started_s + budget_s
        self.is_set = False
        """Whether `set_budget` has replaced the first budget."""
        self.outcome: TransientError | None = None
        """Why waiting was given up."""

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task()
        self._cancelling = 0 if task is None else task.cancelling()
        self._timer = self._loop.call_at(min(self.deadline_s, self.started_s + WATCH_AFTER_S), self._on_timer)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self.outcome is None or self._task is None:
            return
        ours = self._task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self.outcome from error

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at least a millisecond."""
        return max(0.001, self.deadline_s - self._loop.time())

    def set_budget(self, budget_s: float, /) -> None:
        """The deadline is `budget_s` after the request's beginning."""
        self.is_set = True
        deadline_s = self.started_s + budget_s
        if deadline_s != self.deadline_s:
            self.deadline_s = deadline_s
            if self._watching or deadline_s < self.started_s + WATCH_AFTER_S:
                self._arm(deadline_s)

    def body_is_here(self) -> None:
        """The request's body was read; from now on the client can only go away."""
        self._body_is_here = True
        if self._watching:
            self._start_watch()

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at_s, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop.time() >= self.deadline_s - 0.001:  # libuv's timers have whole milliseconds
            waited_s = self.deadline_s - self.started_s
            if self._body_is_here:
                self._give_up(DeadlineError(f"not answered within {waited_s:.3g} s"))
            else:
                self._give_up(BodyTimeoutError(f"the request's body did not arrive within {waited_s:.3g} s"))
            return
        self._watching = True
        if self._body_is_here:
            self._start_watch()
        self._arm(self.deadline_s)

    def _start_watch(self) -> None:
        if self._watch is None:
            self._watch = self._loop.create_task(self._await_client())

    async def _await_client(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
        self._give_up(ClientGoneError("the client closed its connection"))

    def _give_up(self, outcome: TransientError) -> None:
        if self.outcome is None and self._task is not None:
            self.outcome = outcome
            self._task.cancel()
