"""`python -m shard_controller`: reads the environment, makes everything, runs the loop until told to end."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Self

from botshard.local.home import LocalHome
from botshard.logs import configure_logs, fields
from botshard.notify import Notifier
from botshard.sharding.errors import InvalidDocumentError, WorldError
from botshard.store.urls import open_store
from shard_controller.group_files import GroupFiles
from shard_controller.local import LocalPools
from shard_controller.observe import Observer
from shard_controller.reconcile import Reconciler
from shard_controller.settings import Settings, read_settings

__all__ = ["main", "run"]

_log = logging.getLogger(__name__)

_MAX_PAUSE_S = 5.0
"""Between tries while store or home are away."""


def main() -> int:
    """Run with this process's environment."""
    return run(os.environ)


def run(environ: Mapping[str, str]) -> int:
    """Run until SIGTERM, SIGINT or the end of the lifeline; the exit code."""
    try:
        settings = read_settings(environ)
        groups = GroupFiles(settings.group_files)
        groups.refresh()
        store = open_store(settings.store_url, environ, make=False)
        home = LocalPools(LocalHome(open_store(settings.home, environ)))
        if groups.problem is not None and not home.groups():
            sys.stderr.write(groups.problem + "\n")
            return 2
    except (InvalidDocumentError, WorldError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logs("controller", as_json=settings.log_format == "json", level=settings.log_level)
    reconciler = Reconciler(
        store,
        home,
        Observer(store, home, groups),
        grace_s=settings.grace_s,
        budget_bots=settings.budget_bots,
        replan_interval_s=settings.replan_interval_s,
    )
    notifier = Notifier(environ)
    _loop(reconciler, settings, notifier)
    notifier.stopping()
    store.close()
    return 0


def _loop(reconciler: Reconciler, settings: Settings, notifier: Notifier) -> None:
    with _Stop(settings.lifeline_fd) as stop:
        away: str | None = None
        pause_s = settings.interval_s
        ready = False
        while not stop.wait(pause_s if ready or away else 0.0):
            try:
                reconciler.reconcile()
            except WorldError as error:
                if str(error) != away:
                    _log.error("cannot go on; nothing changes until it is back", extra=fields(error=error))
                away = str(error)
                pause_s = min(_MAX_PAUSE_S, pause_s * 2)
                continue
            if away is not None:
                _log.info("going on")
                away, pause_s = None, settings.interval_s
            if not ready:
                notifier.ready()
                ready = True


class _Stop:
    """Waits for the order to end: a signal, or end of file on the lifeline."""

    def __init__(self, lifeline_fd: int | None) -> None:
        self._selector = selectors.DefaultSelector()
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._selector.register(self._read, selectors.EVENT_READ)
        if lifeline_fd is not None:
            self._selector.register(lifeline_fd, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._read.close()
        self._write.close()

    def wait(self, pause_s: float) -> bool:
        """Wait so long; True where the order has come."""
        return bool(self._selector.select(pause_s))
