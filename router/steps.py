"""A way that goes step by step, and waits in between: plain calls, and one task at a time where one is needed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from router.errors import NotReadyError

__all__ = ["Steps"]

_T = TypeVar("_T")


class Steps(ABC):
    """Subclasses say what their steps are; whatever one raises comes to `fell`."""

    __slots__ = ("_is_over", "_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        """What is waited for."""
        self._is_over = False
        """Nobody wants the rest any more."""

    @abstractmethod
    def fell(self, error: Exception, /) -> None:
        """A step has raised this, or what it waited for has."""

    @abstractmethod
    def too_late(self, then: Callable[[Any], None], result: object, /) -> None:
        """What `then` should have got has come after the end."""

    def wait(self, waiting: Coroutine[Any, Any, _T], then: Callable[[_T], None], /) -> None:
        """Go on with `then` and what the coroutine returns."""
        self._task = task = self._loop.create_task(waiting)
        task.add_done_callback(partial(self._waited, then))

    def step(self, step: Callable[[_T], None], value: _T, /) -> None:
        """Go on now."""
        try:
            step(value)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self.fell(error)

    def end(self) -> None:
        """Take no more steps."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def _waited(self, then: Callable[[_T], None], task: asyncio.Task[_T]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if self._is_over:
            if error is None and not task.cancelled():
                self.too_late(then, task.result())
        elif task.cancelled():
            self.fell(NotReadyError("the router is stopping", retry_after_s=1))
        elif isinstance(error, Exception):
            self.fell(error)
        else:
            self.step(then, task.result())
