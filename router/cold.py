"""A pool that may be at zero: one request goes there and wakes it, the others wait for the first answer.

On Knative every request that waits for a pool at zero waits in the activator, counts towards the number of replicas
that are started, and fails there if it fails; fifty of them for one bot would start three replicas that one second
later nobody needs. So one goes, and when the pool has answered, all go. Where the one fails, the next has its turn.

How long starts take is measured, and what a request is told that does not find a place to wait comes from that.

The request that wakes may be a slow one, or wait for its bot to load, while the pool has long been there: if it has not
come back after a moment, something that is answered at once is asked besides (a *knock*), which wakes nobody who has
not been woken.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from router.errors import OverloadedError

__all__ = ["Cold", "Knock", "StartTimes", "Turn", "left_s"]

Knock: TypeAlias = Callable[[], Awaitable[bool]]
"""Ask the pool something that is answered at once: whether it was. Never raises."""

_UNMEASURED_S: Final = 3.0
"""What a start is taken for where none was seen yet."""
_A_START_S: Final = 0.05
"""A pool that answers sooner was not at zero."""
_NEWEST_WEIGHS: Final = 0.5
_KNOCK_AFTER_S: Final = 0.25
_OVERDUE: Final = 0.25
"""A start that is overdue is expected to take this part of its time besides."""


class StartTimes:
    """How long starts take, lately: of one pool, or of all pools of a group."""

    __slots__ = ("mean_s", "of_group")

    def __init__(self) -> None:
        self.mean_s: float | None = None
        """None: no start was seen."""
        self.of_group: StartTimes | None = None
        """Those of all pools of the group, for a pool that has not started yet."""

    def note(self, took_s: float, /) -> None:
        """A pool has started."""
        mean_s = self.mean_s
        self.mean_s = took_s if mean_s is None else mean_s + _NEWEST_WEIGHS * (took_s - mean_s)
        if self.of_group is not None:
            self.of_group.note(took_s)

    @property
    def expected_s(self) -> float:
        """What the next one takes."""
        if self.mean_s is not None:
            return self.mean_s
        return _UNMEASURED_S if self.of_group is None else self.of_group.expected_s


def left_s(expected_s: float, elapsed_s: float, /) -> float:
    """Seconds until a start that began `elapsed_s` ago is over, most likely."""
    return max(expected_s - elapsed_s, _OVERDUE * elapsed_s)


class Turn:
    """A request's place at a pool that may be at zero. `over` when its try is, whatever came of it, or nobody waits."""

    __slots__ = ("_cold", "came")

    def __init__(self, cold: Cold, came: asyncio.Future[bool] | None) -> None:
        self._cold = cold
        self.came = came
        """None: it is its turn already."""

    async def wait(self) -> bool:
        """Until it is its turn: True, ask the pool; False, choose a pool anew."""
        return True if self.came is None else await self.came

    def over(self) -> None:
        """Its place is free. If it was to wake the pool, and that has not answered, the next one is."""
        self._cold.leave(self)


class Cold:
    """One pool while it may be at zero. `answered` when it is there, `dissolve` where it is not to be waited for."""

    __slots__ = ("_began_s", "_expected_s", "_knock", "_knocking", "_loop", "_most", "_pool", "_waiting", "_waker")

    def __init__(
        self, pool: str, *, loop: asyncio.AbstractEventLoop, most: int, expected_s: float, knock: Knock
    ) -> None:
        """`most`: requests that may wait. `expected_s`: what a start takes."""
        self._pool = pool
        self._loop = loop
        self._most = most
        self._expected_s = expected_s
        self._knock = knock
        self._waker: Turn | None = None
        self._began_s: float | None = None
        self._waiting: deque[Turn] = deque()
        self._knocking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait for the first answer."""
        return len(self._waiting)

    @property
    def since_s(self) -> float | None:
        """When it was woken; None: nobody wakes it."""
        return self._began_s

    def enter(self) -> Turn:
        """A place for a request.

        Raises: OverloadedError where as many wait as may; it says when to come back.
        """
        if self._waker is None:
            turn = Turn(self, None)
            self._wakes(turn)
            return turn
        if len(self._waiting) >= self._most:
            elapsed_s = 0.0 if self._began_s is None else self._loop.time() - self._began_s
            raise OverloadedError(
                f"pool {self._pool} starts from zero, and {self._most} requests wait for it already",
                retry_after_s=max(1.0, math.ceil(left_s(self._expected_s, elapsed_s))),
            )
        turn = Turn(self, self._loop.create_future())
        self._waiting.append(turn)
        return turn

    def leave(self, turn: Turn, /) -> None:
        """See `Turn.over`."""
        if turn is self._waker:
            self._waker = None
            self._hand_on()
        elif turn.came is not None and turn in self._waiting:
            self._waiting.remove(turn)

    def answered(self, now_s: float, /) -> float | None:
        """The pool is there: all go. Seconds that its start took; None: it was there before."""
        began_s = self._began_s
        self._end(go=True)
        took_s = 0.0 if began_s is None else now_s - began_s
        return took_s if took_s >= _A_START_S else None

    def dissolve(self) -> None:
        """Those who wait choose anew."""
        self._end(go=False)

    def _hand_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if turn.came is not None and not turn.came.done():
                self._wakes(turn)
                turn.came.set_result(True)
                return
        self._began_s = None
        self._stop_knocking()

    def _wakes(self, turn: Turn) -> None:
        self._waker = turn
        if self._began_s is None:
            self._began_s = self._loop.time()
        if self._knocking is None:
            self._knocking = self._loop.create_task(self._keep_knocking(), name=f"knock at {self._pool}")

    def _end(self, *, go: bool) -> None:
        self._waker = None
        self._began_s = None
        self._stop_knocking()
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if turn.came is not None and not turn.came.done():
                turn.came.set_result(go)

    async def _keep_knocking(self) -> None:
        while True:
            await asyncio.sleep(_KNOCK_AFTER_S)
            if await self._knock():
                return

    def _stop_knocking(self) -> None:
        task, self._knocking = self._knocking, None
        if task is not None and task is not asyncio.current_task(self._loop):
            task.cancel()
