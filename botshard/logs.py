"""Logs: one event a line, for people as text, for machines as JSON.

An event is a short fixed sentence plus fields: `log.info("pool woken", extra=fields(pool=name, took_s=0.21))`. Fixed
sentences can be counted and searched; what varies stands in the fields. Secrets are kept out at the source: nothing
that holds a credential is ever given to a log call.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import IO

__all__ = ["configure_logs", "fields"]

_FIELDS = "botshard_fields"
_LEVEL_LETTERS = {"DEBUG": "D", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "C"}


def fields(**values: object) -> Mapping[str, object]:
    """The `extra` of a log call: `log.info("bot loaded", extra=fields(bot=bot_id))`."""
    return {_FIELDS: values}


class _Formatter(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def event(self, record: logging.LogRecord) -> dict[str, object]:
        found: dict[str, object] = dict(getattr(record, _FIELDS, {}))
        if record.exc_info and record.exc_info[1] is not None:
            found.setdefault("error", f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
            if record.levelno >= logging.ERROR:
                found["traceback"] = self.formatException(record.exc_info)
        return found


class _TextFormatter(_Formatter):
    """`08:31:02.114 I router     bot not found  bot=acme status=404`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = _LEVEL_LETTERS.get(record.levelname, record.levelname)
        event = self.event(record)
        traceback = event.pop("traceback", None)
        shown = "".join(f" {key}={_shown(value)}" for key, value in event.items())
        line = f"{clock}.{int(record.msecs):03d} {level} {self._component:<10} {record.getMessage()}{shown}"
        line = _one_line(line)
        return f"{line}\n{traceback}" if traceback else line


class _JsonFormatter(_Formatter):
    """One JSON object a line: `at`, `level`, `component`, `event`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "at": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "component": self._component,
            "event": record.getMessage(),
            **{key: _finite(value) for key, value in self.event(record).items()},
        }
        return json.dumps(document, default=str, ensure_ascii=False)


def _one_line(text: str) -> str:
    """Messages also come from elsewhere: line feeds and what else would move a terminal's cursor are made visible."""
    text = text.replace("\n", " ⏎ ")
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _finite(value: object) -> object:
    """NaN and the infinities are no JSON."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=') else text


def configure_logs(
    component: str, /, *, as_json: bool = False, level: str = "INFO", stream: IO[str] | None = None
) -> None:
    """Send every logger's events to `stream` (standard error by default), one line each.

    Replaces what was configured before, also by libraries. `component` names this process in each line.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter(component) if as_json else _TextFormatter(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "kserve", "kserve.trace"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(logging.WARNING, root.level))
