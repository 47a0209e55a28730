"""What is imported after the first answers: one import at a time, on a thread, while the event loop serves.

An import holds the interpreter's lock as long as it is let: 5 ms by default, which is what each request would wait that
comes meanwhile. A tenth of a millisecond costs the import nothing measurable. Collecting garbage while hundreds of
thousands of objects come to stay only finds that they stay, and holds the lock for as long as that takes.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Generic, TypeVar

from kserve_runtimes.core.reporting import current_rss_bytes

__all__ = ["Imports", "Late"]

T = TypeVar("T")

_TURN_S: Final = 0.0001


class Imports:
    """Large imports of one process: never two at once, since two would take turns module by module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.grown_bytes = 0
        """Resident memory that they have added to the process."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Import within; blocks while another one does."""
        with self._lock:
            turn_s = sys.getswitchinterval()
            sys.setswitchinterval(_TURN_S)
            gc.disable()
            before_bytes = current_rss_bytes()
            try:
                yield
            finally:
                self.grown_bytes += max(0, current_rss_bytes() - before_bytes)
                gc.enable()
                sys.setswitchinterval(turn_s)


class Late(Generic[T]):
    """One thing that is made once, on a thread of its own, when somebody says so. Lives on the event loop."""

    def __init__(self, make: Callable[[], T], imports: Imports, *, name: str) -> None:
        """Nothing happens until `begin`.

        Args:
            make: imports and builds; may raise anything.
            imports: where it takes its turn.
            name: of the thread.
        """
        self.value: T | None = None
        self.problem: BaseException | None = None
        """Why it could not be made; it is not tried again, since a half-made import does not get better."""
        self.begun = False
        self.on_end: Callable[[], None] = lambda: None
        """Called on the loop once there is a value or a problem."""
        self._make = make
        self._imports = imports
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()

    def begin(self) -> None:
        """Make it, unless that has begun already."""
        if not self.begun:
            self.begun = True
            # A daemon: a process that is told to end does not wait for an import.
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    async def ended(self) -> None:
        """Until there is a value or a problem; begins what has not begun."""
        self.begin()
        await self._ended.wait()

    def give_up(self, problem: BaseException, /) -> None:
        """Let nobody wait any longer; what still comes is not taken."""
        self.begun = True
        self._end(None, problem)

    def _run(self) -> None:
        value, problem = None, None
        try:
            with self._imports.alone():
                value = self._make()
        except BaseException as error:  # noqa: BLE001 - also a library that exits while it is imported
            problem = error
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._end, value, problem)

    def _end(self, value: T | None, problem: BaseException | None) -> None:
        if self._ended.is_set():
            return
        self.value, self.problem = value, problem
        self._ended.set()
        self.on_end()
