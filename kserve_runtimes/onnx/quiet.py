"""ONNX Runtime, imported without its telemetry and its log.

Its builds for Linux send events of use to their maker, by a thread that starts with the import. A replica sends nothing
to anybody, and a zygote that has a second thread could not fork. What goes wrong is an exception and comes out as ever;
the lines of its log repeat that.
"""

from __future__ import annotations

import os

__all__ = ["ort"]

_FATAL = 4

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported, from the environment alone

import onnxruntime as ort  # noqa: E402

ort.disable_telemetry_events()
ort.set_default_logger_severity(_FATAL)
