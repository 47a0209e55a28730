"""`botshard up` and `botshard down`: the local stack in the foreground, and its end from elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from botshard.cli.errors import EXIT_REFUSED, exit_code_of
from botshard.local.front import Front, StackError, prepare, running_stack
from botshard.local.pool_group_files import default_group_files
from botshard.local.processes import adopt
from botshard.local.settings import StackFolder, StackSettings
from botshard.logs import configure_logs
from botshard.pool_groups import read_pool_groups
from botshard.sharding.errors import InvalidDocumentError, WorldError
from botshard.sharding.units import parse_bytes
from botshard.store.layout import CATALOG_PREFIX
from botshard.store.urls import open_store

__all__ = ["DEFAULT_FOLDER", "down", "up"]

DEFAULT_FOLDER = Path(".botshard")

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ACCESS_VARIABLE = "ROUTER_ACCESS"
"""Of the router, which gets it from the environment of this command."""
_DOWN_POLL_S = 0.05


def up(
    folder: Annotated[
        Path, typer.Argument(envvar="BOTSHARD_FOLDER", help="Folder of the stack; made if it is not there.")
    ] = DEFAULT_FOLDER,
    *,
    store: Annotated[
        str, typer.Option(envvar="BOTSHARD_STORE", help="Store URL (file:///… or s3://…); by default FOLDER/store.")
    ] = "",
    groups: Annotated[
        list[Path] | None,
        typer.Option(help="File or folder with pool groups; may be repeated. By default realtime and non-realtime."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address that the router listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the router; 0: any free one.")] = 8080,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="Its port for gRPC; 0: no gRPC.")] = 0,
    open_to_network: Annotated[
        bool,
        typer.Option("--open-to-network", help="Listen beyond loopback: anybody there may ask bots."),
    ] = False,
    router_workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of the router, under a supervisor. Without: one process alone."),
    ] = None,
    cache: Annotated[
        str, typer.Option(help="Bound on FOLDER/cache, such as 20Gi; what was used longest ago goes. Without: none.")
    ] = "",
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    drain_s: Annotated[float, typer.Option(min=0, help="Seconds that a stop waits for requests in flight.")] = 15.0,
) -> None:
    """Run store, controller, pools and router on this machine until Ctrl-C.

    Examples:
      botshard up                          everything below ./.botshard, router on port 8080

      botshard up /srv/bots --port 9000    another folder and port

      botshard up --store "s3://bots/prod?endpoint=http://127.0.0.1:9000"
    """
    if host not in _LOOPBACK and not open_to_network and os.environ.get(_ACCESS_VARIABLE, "").lower() != "on":
        raise _refusal(
            f"{host} can be reached from other machines and nobody is asked who they are: say --open-to-network, "
            f"or have them asked with {_ACCESS_VARIABLE}=on"
        )
    if log_format not in ("text", "json"):
        raise _refusal(f"--log-format is text or json, not {log_format}")
    path = folder.resolve()
    settings = StackSettings(
        folder=StackFolder(path),
        store_url=store or StackFolder(path).store.as_uri(),
        group_files=_group_files(groups),
        host=host,
        port=port,
        router_workers=router_workers,
        grpc_port=grpc_port,
        cache_bytes=_bytes(cache),
        log_format=log_format,
        log_level=log_level.upper(),
        drain_s=drain_s,
    )
    configure_logs("front", as_json=log_format == "json", level=settings.log_level)
    try:
        read_pool_groups(settings.group_files)
        _check_store(settings.store_url)
        fds, listener = prepare(settings)
    except (InvalidDocumentError, StackError, WorldError) as error:
        raise _refusal(str(error), exit_code=exit_code_of(error)) from None
    shown_host, shown_port = listener.getsockname()[:2]
    if log_format == "text":
        grpc = f", gRPC at {shown_host}:{grpc_port}" if grpc_port else ""
        where = f"router at http://{shown_host}:{shown_port}{grpc}"
        typer.echo(f"botshard: {where}, store {settings.store_url}, Ctrl-C to stop")
    front = Front(settings, dict(os.environ), fds)
    front.begin(listener)
    raise typer.Exit(front.run())


def down(
    folder: Annotated[Path, typer.Argument(envvar="BOTSHARD_FOLDER", help="Folder of the stack.")] = DEFAULT_FOLDER,
    *,
    wait_s: Annotated[float, typer.Option(min=0, help="How long to wait for its end, seconds.")] = 30.0,
) -> None:
    """Stop the stack that runs in a folder; requests in flight are finished.

    Examples:
      botshard down

      botshard down /srv/bots
    """
    stack = StackFolder(folder.resolve())
    running = running_stack(stack)
    if running is None:
        raise _refusal(f"no stack runs in {stack.path}")
    process = adopt(int(str(running["keeperPid"])), int(str(running["keeperTicks"])))
    if process is None:
        raise _refusal(f"no stack runs in {stack.path} any more; it was killed, and the next up cleans up after it")
    process.send(signal.SIGTERM)
    deadline_s = time.monotonic() + wait_s
    while process.is_alive:
        if time.monotonic() > deadline_s:
            raise _refusal(f"the stack in {stack.path} (process {process.pid}) has not ended within {wait_s:g} s")
        time.sleep(_DOWN_POLL_S)


def _bytes(text: str) -> int | None:
    try:
        return (parse_bytes(text) or None) if text else None
    except ValueError:
        raise _refusal(f"--cache is a number of bytes such as 20Gi, not {text}") from None


def _group_files(groups: list[Path] | None) -> tuple[Path, ...]:
    if groups:
        return tuple(path.resolve() for path in groups)
    return default_group_files()


def _check_store(url: str) -> None:
    """Ask the store once: to be told here is better than by each process of the stack, again and again.

    Raises: InvalidDocumentError, StoreError.
    """
    store = open_store(url, os.environ)
    try:
        next(iter(store.list(CATALOG_PREFIX)), None)
    finally:
        store.close()


def _refusal(message: str, *, exit_code: int = EXIT_REFUSED) -> typer.Exit:
    sys.stderr.write(f"botshard: {message}\n")
    return typer.Exit(exit_code)
