"""TensorFlow and Keras, imported without the lines that their C++ prints to standard error while it is imported.

They are no events of this replica, and the variable that would silence them (`TF_ENABLE_ONEDNN_OPTS=0`) changes how
fast and how exactly models compute. What goes wrong in an import is a Python exception and comes out as ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keras", "tf"]

_STDERR_FD = 2


@contextmanager
def _without_stderr() -> Iterator[None]:
    kept = os.dup(_STDERR_FD)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, _STDERR_FD)
        yield
    finally:
        os.dup2(kept, _STDERR_FD)
        os.close(null)
        os.close(kept)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later lines, below errors; read when TensorFlow is imported
with _without_stderr():
    import keras
    import tensorflow as tf
