"""Waiting for the world: a condition with a deadline, never a fixed sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.02


def eventually(check: Callable[[], T], /, *, within_s: float = 10.0) -> T:
    """The first true value of `check()`; when `within_s` seconds have passed, its last error or an AssertionError."""
    deadline_s = time.monotonic() + within_s
    while True:
        last_error: Exception | None = None
        value: T | None = None
        try:
            value = check()
        except Exception as error:  # noqa: BLE001 - the world may be in between; the last error is raised below
            last_error = error
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not so within {within_s} s; last value {value!r}") from last_error
        time.sleep(_POLL_S)


async def aeventually(check: Callable[[], Awaitable[T]], /, *, within_s: float = 10.0) -> T:
    """As `eventually`, for a check that is awaited."""
    deadline_s = time.monotonic() + within_s
    while True:
        last_error: Exception | None = None
        value: T | None = None
        try:
            value = await check()
        except Exception as error:  # noqa: BLE001 - the world may be in between; the last error is raised below
            last_error = error
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not so within {within_s} s; last value {value!r}") from last_error
        await asyncio.sleep(_POLL_S)
