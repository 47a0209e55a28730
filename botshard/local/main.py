"""`python -m botshard.local.main keeper|front`: how front and keeper start each other. Users type `botshard up`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping

from botshard.local.front import (
    LIFELINE_FD_VARIABLE,
    LIFELINE_WRITE_FD_VARIABLE,
    LINK_FD_VARIABLE,
    LOCK_FD_VARIABLE,
    OWN_VARIABLES,
    Front,
    FrontFds,
)
from botshard.local.front_link import FrontLink
from botshard.local.home import LocalHome
from botshard.local.keeper import Keeper
from botshard.local.processes import become_subreaper, spawn
from botshard.local.settings import SETTINGS_VARIABLE, StackSettings
from botshard.logs import configure_logs
from botshard.store.urls import open_store

__all__ = ["main"]


def main() -> int:
    """Run as the role that the only argument names."""
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role not in ("keeper", "front") or SETTINGS_VARIABLE not in os.environ:
        sys.stderr.write("front and keeper are started by: botshard up FOLDER\n")
        return 2
    environ = dict(os.environ)
    settings = StackSettings.from_json(environ[SETTINGS_VARIABLE])
    configure_logs(role, as_json=settings.log_format == "json", level=settings.log_level)
    fds = FrontFds(
        lock=int(environ[LOCK_FD_VARIABLE]),
        lifeline=int(environ[LIFELINE_FD_VARIABLE]),
        lifeline_write=int(environ[LIFELINE_WRITE_FD_VARIABLE]),
    )
    for fd in fds.all():
        os.set_inheritable(fd, False)
    link = socket.socket(fileno=int(environ[LINK_FD_VARIABLE]))
    link.set_inheritable(False)
    own = {name: value for name, value in environ.items() if name not in OWN_VARIABLES}
    if role == "keeper":
        return asyncio.run(_keeper(settings, own, fds, link))
    front = Front(settings, own, fds)
    front.attach(link, os.getppid())
    return front.run()


async def _keeper(settings: StackSettings, environ: Mapping[str, str], fds: FrontFds, channel: socket.socket) -> int:
    become_subreaper()

    def start_front() -> tuple[socket.socket, int]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        said = {**environ, **fds.variables(theirs.fileno()), SETTINGS_VARIABLE: settings.to_json()}
        argv = [sys.executable, "-m", "botshard.local.main", "front"]
        with theirs:
            process = spawn(argv, said, pass_fds=[theirs.fileno(), *fds.all()])
        return ours, process.pid

    link = FrontLink(channel, os.getppid(), start_front)
    link.receive_stored()
    home = LocalHome(open_store(settings.folder.home.as_uri(), environ))
    keeper = Keeper(settings, environ, link=link, home=home, lifeline=fds.lifeline)
    link.watch(asyncio.get_running_loop(), keeper.front_replaced)
    return await keeper.run()


if __name__ == "__main__":
    sys.exit(main())
