"""A pipe whose other end somebody holds who must not end before us: end of file there is the order to end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

__all__ = ["watch_lifeline"]


def watch_lifeline(fd: int, cut: Callable[[], None], /) -> None:
    """Call `cut` once the pipe `fd` is closed at its other end. Needs a running event loop."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)

    def readable() -> None:
        try:
            if os.read(fd, 64):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # as good as closed
        loop.remove_reader(fd)
        cut()

    loop.add_reader(fd, readable)
