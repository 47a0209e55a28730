"""`python -m kserve_runtimes.zygote --framework torch`: imports what a replica needs, then forks replicas on request.

It starts nothing: no thread, no event loop, no channel, no op, because a fork copies only the thread that forks and
whatever the others held stays locked in the child for ever. That is checked after the imports, not hoped for. What was
imported and built is frozen out of the garbage collector's sight, so that its pages stay shared.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from botshard.local.zygote_wire import (
    CONTROL_FD_VARIABLE,
    Forked,
    ForkRequest,
    ZygoteExit,
    ZygoteReady,
    receive,
    send,
)
from botshard.logs import configure_logs
from botshard.sharding.ids import Framework
from kserve_runtimes.settings import FRAMEWORKS, LOG_FORMAT

__all__ = ["main"]

_EXIT_NOT_SINGLE: Final = 3
_EXIT_DEFECT: Final = 70  # EX_SOFTWARE of sysexits.h
_USED_AFTER_THE_FORK: Final = (
    "botshard.bots.keras_archive",
    "botshard.bots.safetensors_file",
    "botshard.bots.saved_model",
    "botshard.bots.spec_document",
    "botshard.bots.torch_export",
    "botshard.processing.patterns",
    "botshard.store.files",
    "botshard.store.s3",
    "kserve_runtimes.main",
)
"""What a replica imports when it needs it, besides what is built here."""
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str], environ: Mapping[str, str], /) -> int:
    """Run the zygote until its control socket is closed; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m kserve_runtimes.zygote", description=__doc__)
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True, help="what the replicas run")
    parser.add_argument(
        "--programs",
        action="store_true",
        help="also import what torch.export programs need: their first load is 2.5 s faster, the zygote 84 MiB larger",
    )
    options = parser.parse_args(arguments)
    framework = Framework(options.framework)
    control = socket.socket(fileno=int(environ[CONTROL_FD_VARIABLE]))
    control.set_inheritable(False)
    _end_with_the_stack()
    started_s = time.monotonic()
    server = _import_everything(framework, programs=options.programs, as_json=environ.get(LOG_FORMAT) == "json")
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        sys.stderr.write(f"zygote: {threads} threads after the imports; a fork would lose them\n")
        return _EXIT_NOT_SINGLE
    gc.collect()
    gc.freeze()
    send(control, ZygoteReady(framework=framework, import_s=time.monotonic() - started_s))
    return _Zygote(control, server, framework).run()


def _end_with_the_stack() -> None:
    """The keeper tells a zygote to end by closing its socket; a Ctrl-C meant for the keeper must not end it first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _import_everything(framework: Framework, *, programs: bool, as_json: bool) -> object:
    for name in _THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    for name in _USED_AFTER_THE_FORK:
        import_module(name)
    from botshard.processing.registry import all_steps
    from kserve_runtimes.frameworks import import_framework
    from kserve_runtimes.serving.server import PoolServer

    all_steps()
    import_framework(framework, programs=programs)
    configure_logs(f"zygote.{framework}", as_json=as_json)  # after the imports: libraries configure logs too
    return PoolServer()


class _Zygote:
    """Serves the control socket. One thread, so requests and exits are told in the order they happen."""

    def __init__(self, control: socket.socket, server: object, framework: Framework) -> None:
        self._control = control
        self._server = server
        self._framework = framework
        self._children: set[int] = set()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Until the control socket is closed. Children go on."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._control:
                        if not self._take_request(selector):
                            return 0
                    else:
                        self._reap()

    def _take_request(self, selector: selectors.BaseSelector) -> bool:
        try:
            received = receive(self._control)
        except OSError:
            return False
        if received is None:
            return False
        message, fds = received
        if isinstance(message, ForkRequest):
            self._fork(message, fds, selector)
        for fd in fds:
            os.close(fd)
        return True

    def _fork(self, request: ForkRequest, fds: tuple[int, ...], selector: selectors.BaseSelector) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become_replica(request, fds, selector)
        self._children.add(pid)
        send(self._control, Forked(token=request.token, pid=pid))

    def _become_replica(self, request: ForkRequest, fds: tuple[int, ...], selector: selectors.BaseSelector) -> NoReturn:
        """What the child does; it never returns into the zygote's code."""
        code = _EXIT_DEFECT
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            selector.close()
            self._control.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            passed = dict(zip(request.fd_variables, map(str, fds), strict=True))
            if CONTROL_FD_VARIABLE in passed:
                os._exit(self._stand_by(socket.socket(fileno=int(passed[CONTROL_FD_VARIABLE]))))
            os.environ.pop(CONTROL_FD_VARIABLE, None)
            os.environ.update({**request.environ, **passed})
            environ = dict(os.environ)
            sys.argv[:] = ["kserve_runtimes"]
            from kserve_runtimes.main import run
            from kserve_runtimes.serving.server import PoolServer

            assert isinstance(self._server, PoolServer)  # noqa: S101 - narrows what was built before the imports
            code = run(environ, built=self._server)
        except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _stand_by(self, control: socket.socket) -> int:
        """Be the zygote that takes over when this one dies: everything is imported already, since it is a fork."""
        _end_with_the_stack()
        send(control, ZygoteReady(framework=self._framework, import_s=0.0))
        return _Zygote(control, self._server, self._framework).run()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.discard(pid)
                with contextlib.suppress(OSError):  # the keeper is gone: the loop ends at its next turn
                    send(self._control, ZygoteExit(pid=pid, exit_code=os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
