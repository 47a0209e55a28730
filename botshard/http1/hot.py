"""Requests that are answered without an application: whole body in, whole answer out, no task unless one is needed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Protocol

from botshard.http1.answers import Answer
from botshard.http1.exchange import Exchange
from botshard.http1.whole import WholeBody

__all__ = ["HotRequest", "Recognise"]


class HotRequest(WholeBody, ABC):
    """Subclasses say what is answered: `run`, and where it matters the other methods without a leading underscore."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        super().__init__()
        self._task: asyncio.Task[Any] | None = None

    # ── what subclasses say ───────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def run(self) -> Answer | None:
        """The answer; or None, once it was arranged that `answer` is called (see `run_as_task`).

        Raises: what `answer_to` has an answer for.
        """

    @abstractmethod
    def expired(self) -> Answer:
        """The answer when `deadline_s` (which `begin` may set) has passed."""

    @abstractmethod
    def answer_to(self, error: Exception, /) -> Answer:
        """The answer when `run`, or its task, raised."""

    # ── what subclasses use ───────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, answer: Answer, /) -> None:
        """Send the answer; without effect where the client is gone or was answered."""
        if not self.is_over:
            self.link.reply(self, answer)

    def cancel_with(self, task: asyncio.Task[Any] | None, /) -> None:
        """`task` works for this request alone: it is cancelled when nobody waits for the answer any more."""
        self._task = task

    def run_as_task(self, answering: Coroutine[Any, Any, Answer], /) -> None:
        """Answer with what the coroutine returns; it is cancelled when nobody waits any more."""
        self._task = task = asyncio.get_running_loop().create_task(answering)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Answer]) -> None:
        if task.cancelled():
            if not self.is_over:
                self.link.broken(self)
            return
        error = task.exception()
        if self.is_over:
            return
        if error is None:
            self.link.reply(self, task.result())
        elif isinstance(error, Exception):
            self.link.reply(self, self.answer_to(error))
        else:
            self.link.broken(self)

    # ── what the connection calls ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def may_start(self) -> bool:
        """Once the body is whole."""
        return self.is_whole

    def start(self) -> None:
        """Run."""
        try:
            answer = self.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            answer = self.answer_to(error)
        if answer is not None:
            self.link.reply(self, answer)

    def expire(self) -> None:
        """Say so, and stop what runs."""
        task = self._task
        self.link.reply(self, self.expired())
        if task is not None:
            task.cancel()

    def abandon(self) -> None:
        """Stop what runs."""
        if self._task is not None:
            self._task.cancel()


class Recognise(Protocol):
    """Tells hot requests from others, by the bytes of the request line."""

    def __call__(self, method: bytes, target: bytes, /) -> Exchange | None:
        """A new exchange; None: it is for the application."""
        ...
