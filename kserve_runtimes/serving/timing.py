"""The header that tells where the time of an answer went: `Server-Timing`, in milliseconds."""

from __future__ import annotations

from typing import Final

from kserve_runtimes.core.times import Times

__all__ = ["timing_line"]

_LINE: Final = b"server-timing: queue;dur=%.3f, pre;dur=%.3f, predict;dur=%.3f, post;dur=%.3f, batch;desc=%d\r\n%b"
_LINE_LOADED: Final = _LINE.replace(b": ", b": load;dur=%.3f, ", 1)


def timing_line(times: Times, more: bytes, /) -> bytes:
    """The header line of an answer, and `more` lines; `load` only where the request waited for its bot to be loaded."""
    queue, pre, predict, post = times.queue_s * 1e3, times.pre_s * 1e3, times.predict_s * 1e3, times.post_s * 1e3
    if times.load_s:
        return _LINE_LOADED % (times.load_s * 1e3, queue, pre, predict, post, times.batch_rows, more)
    return _LINE % (queue, pre, predict, post, times.batch_rows, more)
