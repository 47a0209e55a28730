"""The header that tells where the time of an answer went: `Server-Timing`, in milliseconds."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from kserve_runtimes.core.times import Times

__all__ = ["cold_timing_line", "timing_line"]

_LINE: Final = b"server-timing: queue;dur=%.3f, pre;dur=%.3f, predict;dur=%.3f, post;dur=%.3f, batch;desc=%d\r\n%b"
_LINE_COLD: Final = _LINE.replace(
    b": ", b": up;dur=%.3f, all;dur=%.3f, wait;dur=%.3f, fetch;dur=%.3f, load;dur=%.3f, ", 1
)


def timing_line(times: Times, more: bytes, /) -> bytes:
    """The header line of an answer, and `more` lines."""
    queue, pre, predict, post = times.queue_s * 1e3, times.pre_s * 1e3, times.predict_s * 1e3, times.post_s * 1e3
    return _LINE % (queue, pre, predict, post, times.batch_rows, more)


def cold_timing_line(times: Times, more: bytes, /, *, up_since_s: float) -> bytes:
    """The same where the request waited for its bot to be loaded, or came to a replica that has just begun.

    Besides it tells for how long this replica has listened (`up`) and how long the request was here (`all`): by the
    two, whoever has sent it knows for how long it waited before anybody listened.
    """
    now_s = perf_counter()
    load_s = times.load_s - times.fetch_s - times.wait_s
    here_s = now_s - times.asked_at_s
    waits = ((now_s - up_since_s) * 1e3, here_s * 1e3, times.wait_s * 1e3, times.fetch_s * 1e3, load_s * 1e3)
    queue, pre, predict, post = times.queue_s * 1e3, times.pre_s * 1e3, times.predict_s * 1e3, times.post_s * 1e3
    return _LINE_COLD % (*waits, queue, pre, predict, post, times.batch_rows, more)
