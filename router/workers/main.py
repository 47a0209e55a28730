"""`python -m router`: serves as one process, supervises several, or is one of these."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final

from botshard.lifeline import watch_lifeline
from botshard.logs import configure_logs, fields
from botshard.notify import Notifier
from botshard.sharding.errors import InvalidDocumentError
from router.access.openness import refuse_open
from router.settings import VARIABLES, Settings
from router.workers.env_file import read_env_file
from router.workers.listening import inherited_socket, shared_sockets
from router.workers.supervisor import EXIT_CRASH_LOOP, Supervisor
from router.workers.wire import LINK_FD

__all__ = ["main"]

_EXIT_WORLD: Final = 1
_EXIT_CONFIGURATION: Final = 2
_WORKERS: Final = "ROUTER_WORKERS"
_OPEN: Final = "ROUTER_OPEN"
_ENV_FILE: Final = "ROUTER_ENV_FILE"
_AFTER: Final = f"""\
signals
  SIGTERM, SIGINT  answer what is under way, then end with 0; a second one ends at once
  SIGHUP           with --workers: replace every worker, without losing a request; settings are read again

exit codes
  0  stopped
  1  the world would not let it: the port is taken, the store cannot be opened
  2  settings are wrong
  {EXIT_CRASH_LOOP}  no worker comes up any more

Besides: NOTIFY_SOCKET (sd_notify), BOTSHARD_LIFELINE_FD (end of file there: end), SSL_CERT_FILE, AWS_… for the store.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the router; returns the exit code."""
    if LINK_FD in os.environ:
        from router.main import main as work

        return work(os.environ)
    own = dict(os.environ)
    own |= _options(sys.argv[1:] if arguments is None else arguments)
    try:
        environ = _environ_of(own)
        settings = Settings.read(environ)
    except InvalidDocumentError as error:
        return _refuse(error)
    if settings.workers is None:
        from router.main import main as serve_alone

        _become(os.environ, environ)
        return serve_alone(os.environ)
    configure_logs("router", as_json=settings.log_as_json, level=settings.log_level)
    return asyncio.run(_supervise(settings, own, environ))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Variables that options stand for."""
    if not arguments:
        return {}
    import argparse

    width = max(map(len, VARIABLES)) + 2
    settings = "\n".join(f"  {name:<{width}}{text}" for name, text in VARIABLES.items())
    parser = argparse.ArgumentParser(
        "python -m router",
        description="Forwards requests to the pools of their bots. Settings are environment variables:\n\n" + settings,
        epilog=_AFTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", metavar="N", help=f"processes that serve, under a supervisor ({_WORKERS})")
    parser.add_argument(
        "--open",
        action="store_const",
        const="true",
        help=f"beyond loopback although nobody is asked ({_OPEN})",
    )
    parser.add_argument("--env-file", metavar="FILE", help=f"file with further settings ({_ENV_FILE})")
    chosen = parser.parse_args(arguments)
    said = {_WORKERS: chosen.workers, _OPEN: chosen.open, _ENV_FILE: chosen.env_file}
    return {name: value for name, value in said.items() if value is not None}


def _environ_of(own: Mapping[str, str]) -> dict[str, str]:
    """The environment with what the file in it sets. Raises: InvalidDocumentError."""
    file = own.get(_ENV_FILE, "").strip()
    return {**own, **(read_env_file(Path(file)) if file else {})}


def _become(held: MutableMapping[str, str], environ: Mapping[str, str]) -> None:
    """Libraries read the environment themselves."""
    for name, value in environ.items():
        if held.get(name) != value:
            held[name] = value


def _refuse(error: InvalidDocumentError) -> int:
    configure_logs("router")
    for problem in error.problems:
        event = fields(document=error.document, problem=str(problem))
        logging.getLogger("router").error("setting refused", extra=event)
    return _EXIT_CONFIGURATION


def _listen(settings: Settings, count: int) -> list[socket.socket]:
    """Sockets for so many workers. Raises: OSError; InvalidDocumentError where they would be open to a network."""
    if settings.listen_fd is None:
        sockets = shared_sockets(host=settings.host, port=settings.port, count=count)
    else:
        sockets = [inherited_socket(settings.listen_fd)] * count
    try:
        refuse_open(sockets[0], settings.access)
    except InvalidDocumentError:
        for sock in set(sockets):
            sock.close()
        raise
    return sockets


async def _supervise(settings: Settings, own: Mapping[str, str], environ: Mapping[str, str]) -> int:
    log = logging.getLogger("router")
    count = settings.workers or 1
    try:
        sockets = _listen(settings, count)
    except InvalidDocumentError as error:
        return _refuse(error)
    except OSError as error:
        where = f"fd {settings.listen_fd}" if settings.listen_fd is not None else f"{settings.host}:{settings.port}"
        log.error("cannot listen", extra=fields(where=where, why=str(error)))  # noqa: TRY400
        return _EXIT_WORLD
    host, port = sockets[0].getsockname()[:2]
    notifier = Notifier(environ)
    held = {**environ}

    def read_again() -> dict[str, str]:
        """What workers are started with: settings of now, but for those of the supervisor itself."""
        found = _environ_of(own)
        for name in (_WORKERS, "ROUTER_HOST", "ROUTER_PORT", "ROUTER_LISTEN_FD"):
            if found.get(name) != held.get(name):
                log.warning("a setting of the supervisor changes with its next start only", extra=fields(name=name))
            found.pop(name, None)
            found |= {name: held[name]} if name in held else {}
        refuse_open(sockets[0], Settings.read(found).access)
        return found

    def ready() -> None:
        log.info("router serves", extra=fields(host=host, port=port, workers=count))
        notifier.ready()

    supervisor = Supervisor(
        sockets,
        environ=read_again,
        drain_timeout_s=settings.drain_timeout_s,
        on_ready=ready,
        on_stop=notifier.stopping,
    )
    if settings.lifeline_fd is not None:
        watch_lifeline(settings.lifeline_fd, supervisor.stop)
    try:
        exit_code = await supervisor.run()
    finally:
        notifier.close()
        for sock in set(sockets):
            sock.close()
    log.info("router stopped", extra=fields(exit=exit_code))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
