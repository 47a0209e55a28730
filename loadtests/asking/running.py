"""The asking process from outside: started, waited for, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from loadtests.asking.exchanges import Results, read_results
from loadtests.asking.orders import Orders
from loadtests.errors import LoadTestError

__all__ = ["Asking"]

_STOP_S = 10.0
_POLL_S = 0.1
_SLACK_S = 60.0
_ROOT = Path(__file__).parents[2]


class Asking:
    """A process that follows a timetable; a context, after which it is gone."""

    def __init__(self, orders: Orders, folder: Path) -> None:
        self._orders = orders
        self._log = folder / "asking.log"
        self._path = folder / "orders.json"
        self._path.touch(mode=0o600)  # it may hold keys
        orders.write(self._path)
        orders.results.unlink(missing_ok=True)
        self._command = [sys.executable, "-W", "ignore", "-m", "loadtests.asking", str(self._path)]
        self._began_s = 0.0

    def __enter__(self) -> Self:
        environ = {**os.environ, "GRPC_VERBOSITY": "ERROR", "PYTHONPATH": str(_ROOT)}
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for us, and we tell it.
            self._process = subprocess.Popen(
                self._command, env=environ, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._path.unlink()

    def began_s(self) -> float:
        """Monotonic seconds of the timetable's beginning; 0: it has not begun."""
        if not self._began_s and self._orders.results.exists():
            self._began_s = _first_line(self._orders.results)
        return self._began_s

    def wait(self, *, told: Callable[[float], None] | None = None, stop: threading.Event | None = None) -> None:
        """Until the timetable is over, or `stop` is set. Raises: LoadTestError where the process fails.

        Args:
            told: every now and then, how many seconds of the timetable have passed.
            stop: ends it early.
        """
        timetable_s = self._orders.timetable.seconds
        deadline_s = time.monotonic() + timetable_s + self._orders.patience_s + _SLACK_S
        while self._process.poll() is None:
            if time.monotonic() > deadline_s:
                raise LoadTestError(f"the asking process does not come to its end; it said: {self._said()}")
            if told is not None and self.began_s():
                told(min(timetable_s, time.monotonic() - self.began_s()))
            if stop is None:
                time.sleep(_POLL_S)
            elif stop.wait(_POLL_S):
                return
        if not self.began_s():
            raise LoadTestError(f"the asking process ended with {self._process.returncode}: {self._said()}")

    def results(self) -> Results:
        """What it has written so far."""
        return read_results(self._orders.results)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def _first_line(path: Path) -> float:
    with path.open() as file:
        line = file.readline()
    if not line.endswith("\n"):
        return 0.0
    return float(json.loads(line)["began"])
