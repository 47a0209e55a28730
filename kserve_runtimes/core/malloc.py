"""The C library's memory: how much of it is in use, and giving back what is not.

Native code that allocates with `malloc` tells nobody how much. The C library keeps what is freed: after 200 ONNX models
of 400 KiB had left, all of their memory, until it is told to give it back.
"""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["allocated_bytes", "trim"]


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


_C: Final = ctypes.CDLL(None)
_mallinfo = getattr(_C, "mallinfo2", None)  # glibc from 2.33 on
_malloc_trim = getattr(_C, "malloc_trim", None)  # glibc
if _mallinfo is not None:
    _mallinfo.restype = _MallInfo


def allocated_bytes() -> int | None:
    """Bytes that this process has from `malloc`, in all its arenas; None where the C library does not say."""
    if _mallinfo is None:
        return None
    info = _mallinfo()
    return int(info.uordblks + info.hblkhd)


def trim() -> None:
    """Give freed pages back to the system; 5 ms for 100 MiB of weights, more for many small pieces."""
    if _malloc_trim is not None:
        _malloc_trim(0)
