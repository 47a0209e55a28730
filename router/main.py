"""`python -m router`: reads the environment, puts the parts together, serves until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from botshard.lifeline import watch_lifeline
from botshard.logs import configure_logs, fields
from botshard.notify import Notifier
from botshard.sharding.errors import InvalidDocumentError, WorldError
from botshard.store.base import ObjectStore
from botshard.store.catalog_follower import CatalogFollower
from botshard.store.table import TableFollower
from botshard.store.urls import open_store
from router.access.assembly import make_access
from router.access.openness import refuse_open, refuse_open_host
from router.app import make_app
from router.following import Following
from router.forwarding import Forwarding
from router.front import Front
from router.limits import BodyAccount
from router.metrics import RouterCollector, RouterCounts
from router.pools import Pools
from router.serving import Server, listening_socket
from router.settings import Settings
from router.table import Routes

if TYPE_CHECKING:
    from router.rpc.server import RouterRpcServer

__all__ = ["Router", "assemble", "main", "serve"]

_EXIT_CONFIGURATION: Final = 2
_EXIT_WORLD: Final = 1
_FIRST_LOOK_S: Final = 5.0
_GC_THRESHOLD: Final = 20_000


def main() -> int:
    """Run the router; returns the exit code: 0 stopped, 1 the world would not let it, 2 the settings are wrong."""
    environ: Mapping[str, str] = os.environ
    if "--open" in sys.argv[1:]:
        environ = {**environ, "ROUTER_OPEN": "true"}
    try:
        settings = Settings.read(environ)
    except InvalidDocumentError as error:
        configure_logs("router")
        return _refuse_settings(error)
    configure_logs("router", as_json=settings.log_as_json, level=settings.log_level)
    log = logging.getLogger("router")
    if settings.unknown:
        log.warning("unknown settings are ignored", extra=fields(names=", ".join(settings.unknown)))
    try:
        store = open_store(settings.store_url, os.environ, make=False)
    except InvalidDocumentError as error:
        return _refuse_settings(error)
    except WorldError as error:
        log.error("store cannot be opened", extra=fields(why=str(error)))  # noqa: TRY400 - a message, not a traceback
        return _EXIT_WORLD
    try:
        code: int = uvloop.run(_run(settings, store, os.environ))
    finally:
        store.close()
    return code


def _refuse_settings(error: InvalidDocumentError) -> int:
    log = logging.getLogger("router")
    for problem in error.problems:
        log.error("setting refused", extra=fields(document=error.document, problem=str(problem)))
    return _EXIT_CONFIGURATION


@dataclass(frozen=True, slots=True)
class Router:
    """A router's parts, put together and not yet started."""

    routes: Routes
    pools: Pools
    following: Following
    counts: RouterCounts
    account: BodyAccount
    server: Server
    rpc: RouterRpcServer | None
    """The gRPC port."""


def assemble(
    settings: Settings, store: ObjectStore, *, on_stop: Callable[[], None] = lambda: None, workers: int = 1
) -> Router:
    """Put a router together; inside a running loop. `on_stop` is called once when it begins to drain.

    `workers`: processes like this one that clients are spread over.

    Raises: InvalidDocumentError for files of the settings that cannot be used.
    """
    access = make_access(settings.access, settings.tls, store, workers=workers)
    counts = RouterCounts()
    if access.gate is not None:
        counts.limited = access.gate.limited
    routes = Routes(tenants=settings.access.is_on)
    pools = Pools(settings.limits, tls=access.upstream)
    account = BodyAccount(settings.limits.max_held_bytes)
    following = Following(
        routes,
        pools,
        table=TableFollower(store),
        catalog=CatalogFollower(store, keep=routes.served.keep),
        counts=counts,
        poll_interval_s=settings.poll_interval_s,
        besides=access.followed,
    )
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(RouterCollector(counts, pools=lambda: pools, gauges=lambda: _gauges(routes, account)))
    way = Forwarding(routes, pools, following, counts)
    front = Front(
        way,
        limits=settings.limits,
        account=account,
        counts=counts,
        access_log=settings.access_log,
        gate=access.gate,
    )
    server = Server(
        access.guarded(make_app(routes, pools, following, registry=registry, draining=lambda: server.stopping)),
        front,
        limits=settings.limits,
        drain_timeout_s=settings.drain_timeout_s,
        # Whoever waits in the queue of a router that was restarted must not be told that it knows nothing yet.
        begin=lambda: _first_look(following),
        on_stop=on_stop,
        tls=access.listening,
    )
    server.besides = rpc = _rpc_server(settings, front, share_port=workers > 1)
    return Router(routes, pools, following, counts, account, server, rpc)


def _rpc_server(settings: Settings, front: Front, *, share_port: bool) -> RouterRpcServer | None:
    """The gRPC port; what it needs is imported only where there is one."""
    if not settings.grpc_port:
        return None
    from router.rpc.server import RouterRpcServer
    from router.rpc.tls import server_credentials

    return RouterRpcServer(
        front,
        host=settings.host,
        port=settings.grpc_port,
        share_port=share_port,
        credentials=server_credentials(settings.tls),
    )


async def serve(router: Router, listening: socket.socket, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve on `listening` until the server is stopped; `on_ready` is called once the store was looked at."""
    router.following.start()
    serving = asyncio.create_task(router.server.serve(sockets=[listening]))
    try:
        await _first_look(router.following)
        on_ready()
        await serving
    finally:
        await router.following.stop()
        router.pools.close()


async def _first_look(following: Following) -> None:
    with contextlib.suppress(TimeoutError):  # a store that hangs does not keep the router from serving
        async with asyncio.timeout(_FIRST_LOOK_S):
            await following.tried()


async def _run(settings: Settings, store: ObjectStore, environ: Mapping[str, str]) -> int:
    log = logging.getLogger("router")
    try:
        listening = listening_socket(host=settings.host, port=settings.port, fd=settings.listen_fd)
    except OSError as error:
        where = f"fd {settings.listen_fd}" if settings.listen_fd is not None else f"{settings.host}:{settings.port}"
        log.error("cannot listen", extra=fields(where=where, why=str(error)))  # noqa: TRY400
        return _EXIT_WORLD
    try:
        refuse_open(listening, settings.access)
        if settings.grpc_port:
            refuse_open_host(settings.host, settings.access)
    except InvalidDocumentError as error:
        listening.close()
        return _refuse_settings(error)
    host, port = listening.getsockname()[:2]
    notifier = Notifier(environ)

    def stopping() -> None:
        log.info("router stops", extra=fields(in_flight=sum(pool.outstanding for pool in router.pools)))
        notifier.stopping()

    def ready() -> None:
        # What is here now stays: the collector need not look at it again and again. Requests make few cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 50)
        grpc = {"grpc_port": settings.grpc_port} if settings.grpc_port else {}
        event = fields(host=host, port=port, **grpc, store=store.url, ready=router.routes.ready)
        log.info("router serves", extra=event)
        notifier.ready()

    try:
        router = assemble(settings, store, on_stop=stopping)
    except InvalidDocumentError as error:
        listening.close()
        return _refuse_settings(error)

    def stack_gone() -> None:
        log.info("stack gone, stopping")
        router.server.stop()

    if settings.lifeline_fd is not None:
        watch_lifeline(settings.lifeline_fd, stack_gone)
    try:
        await serve(router, listening, on_ready=ready)
    except OSError as error:
        where = f"{settings.host}:{settings.grpc_port}"
        log.error("cannot listen", extra=fields(where=where, why=str(error)))  # noqa: TRY400
        return _EXIT_WORLD
    notifier.close()
    log.info("router stopped")
    return 0


def _gauges(routes: Routes, account: BodyAccount) -> dict[str, float]:
    table = routes.table
    return {
        "bots": len(routes.bots),
        "table_epoch": 0 if table is None else table.epoch,
        "table_pools": 0 if table is None else len(table.pools),
        "held_body_bytes": account.held_bytes,
        "ready": routes.ready,
    }


if __name__ == "__main__":
    sys.exit(main())
