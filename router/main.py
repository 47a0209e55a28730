"""A process that serves: reads the environment, puts the parts together, serves until it is told to stop.

It is the router, or one worker of it; `router.workers.main` decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
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
from router.choosing import Choosing
from router.device_memory import DeviceMemory
from router.following import Following
from router.forwarding import Forwarding
from router.front import Front
from router.hedging import Hedging
from router.limits import BodyAccount
from router.metrics import RouterCollector, RouterCounts
from router.pools import Pools
from router.probing import Prober, knock
from router.refusals import RefusalLog
from router.serving import Server, listening_socket
from router.settings import Settings
from router.table import Routes
from router.telemetry.admin import add_telemetry
from router.telemetry.busiest import BusiestBots
from router.telemetry.otlp import MissingExtraError
from router.telemetry.telemetry import Telemetry
from router.workers.crew import Alone, Crew
from router.workers.link import Link
from router.workers.wire import LINK_FD, SEATS, SUCCESSOR

if TYPE_CHECKING:
    from router.rpc.server import RouterRpcServer

__all__ = ["Router", "assemble", "main", "serve"]

_EXIT_CONFIGURATION: Final = 2
_EXIT_WORLD: Final = 1
_FIRST_LOOK_S: Final = 5.0
_GC_THRESHOLD: Final = 20_000
_LOOK_S: Final = 0.05


def main(environ: Mapping[str, str]) -> int:
    """Serve; returns the exit code: 0 stopped, 1 the world would not let it, 2 the settings are wrong."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN if LINK_FD in environ else signal.SIG_DFL)  # the supervisor's
    try:
        settings = Settings.read(environ)
    except InvalidDocumentError as error:
        configure_logs("router")
        return _refuse_settings(error)
    configure_logs("router", as_json=settings.log_as_json, level=settings.log_level)
    log = logging.getLogger("router")
    if settings.unknown and LINK_FD not in environ:
        log.warning("unknown settings are ignored", extra=fields(names=", ".join(settings.unknown)))
    try:
        store = open_store(settings.store_url, environ, make=False)
    except InvalidDocumentError as error:
        return _refuse_settings(error)
    except WorldError as error:
        log.error("store cannot be opened", extra=fields(why=str(error)))  # noqa: TRY400 - a message, not a traceback
        return _EXIT_WORLD
    try:
        code: int = uvloop.run(_run(settings, store, environ))
    except InvalidDocumentError as error:
        return _refuse_settings(error)
    except MissingExtraError as error:
        log.error("cannot trace", extra=fields(why=str(error)))  # noqa: TRY400 - a message, not a traceback
        return _EXIT_CONFIGURATION
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
    prober: Prober
    device_memory: DeviceMemory
    counts: RouterCounts
    account: BodyAccount
    server: Server
    telemetry: Telemetry
    crew: Crew
    rpc: RouterRpcServer | None
    """The gRPC port."""


def assemble(
    settings: Settings,
    store: ObjectStore,
    *,
    on_stop: Callable[[], None] = lambda: None,
    link_fd: int | None = None,
    seats: Sequence[int] = (),
    is_successor: bool = False,
) -> Router:
    """Put a router together; inside a running loop.

    Args:
        settings: of the router.
        store: that it follows.
        on_stop: called once when it begins to drain.
        link_fd: of the wire to its supervisor; None: there is none.
        seats: listening sockets of the other workers.
        is_successor: it does not begin before it can route.

    Raises: MissingExtraError, InvalidDocumentError for files of the settings that cannot be used.
    """
    access = make_access(settings.access, settings.tls, store, workers=settings.workers or 1)
    counts = RouterCounts()
    if access.gate is not None:
        counts.limited = access.gate.limited
    routes = Routes(tenants=settings.access.is_on)
    pools = Pools(settings.limits, settings.health, gateway=settings.gateway, tls=access.upstream)
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
    loop = asyncio.get_running_loop()
    requests_log = logging.getLogger("router.proxy")
    refusals = RefusalLog(requests_log, loop=loop)
    telemetry = Telemetry(
        settings.telemetry,
        busiest=BusiestBots(settings.telemetry.top_bots, now_s=loop.time),
        refusals=refusals,
        log=requests_log,
    )
    registry.register(
        RouterCollector(
            counts,
            pools=lambda: pools,
            shared=lambda: pools.shared,
            gauges=lambda: _gauges(routes, account),
            more=(telemetry.families,),
        )
    )

    def about() -> dict[str, object]:
        epoch = None if routes.table is None else routes.table.epoch
        in_flight = sum(pool.outstanding for pool in pools)
        return {"ready": routes.ready, "epoch": epoch, "bots": len(routes.bots), "inFlight": in_flight}

    crew = Alone(registry, about) if link_fd is None else Link(link_fd, seats, registry, about)
    choosing = Choosing(routes, pools, knock=knock, max_cold_waiting=settings.limits.max_cold_waiting_per_pool)
    prober = Prober(routes, pools, choosing, health=settings.health, rules=settings.probes)
    way = Forwarding(routes, choosing, following, counts, hedging=Hedging() if settings.hedge else None)
    front = Front(
        way,
        limits=settings.limits,
        account=account,
        counts=counts,
        telemetry=telemetry,
        refusals=refusals,
        gate=access.gate,
    )
    app = make_app(routes, pools, following, crew=crew, draining=lambda: server.stopping)
    add_telemetry(app, routes, pools, following, telemetry=telemetry, limits=settings.limits)
    server = Server(
        access.guarded(app),
        front,
        limits=settings.limits,
        drain_timeout_s=settings.drain_timeout_s,
        # Whoever waits in the queue of a router that was restarted must not be told that it knows nothing yet.
        begin=lambda: _until_routable(routes, following) if is_successor else _first_look(following),
        on_stop=on_stop,
        is_worker=link_fd is not None,
    )
    server.tls = access.listening
    server.besides = rpc = _rpc_server(settings, front, share_port=link_fd is not None)
    return Router(
        routes,
        pools,
        following,
        prober,
        DeviceMemory(routes, pools, store),
        counts=counts,
        account=account,
        server=server,
        telemetry=telemetry,
        crew=crew,
        rpc=rpc,
    )


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
    """Serve on `listening` until the server is stopped; `on_ready` is called once it accepts."""
    router.following.start()
    router.prober.start()
    router.device_memory.start()
    serving = asyncio.create_task(router.server.serve(sockets=[listening]))
    accepting = asyncio.create_task(router.server.accepts.wait())
    try:
        await asyncio.wait((serving, accepting), return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            on_ready()
        await serving
    finally:
        accepting.cancel()
        await router.device_memory.stop()
        await router.prober.stop()
        await router.following.stop()
        router.pools.close()
        await asyncio.to_thread(router.telemetry.close)


async def _until_routable(routes: Routes, following: Following) -> None:
    """One that takes over from a worker that routes must not know less: its supervisor bounds how long that takes."""
    await following.tried()
    while not routes.ready:  # noqa: ASYNC110 - a store that is away, or a table that is to come
        await asyncio.sleep(_LOOK_S)


async def _first_look(following: Following) -> None:
    with contextlib.suppress(TimeoutError):  # a store that hangs does not keep the router from serving
        async with asyncio.timeout(_FIRST_LOOK_S):
            await following.tried()


def _cannot_listen(where: str, error: OSError) -> int:
    logging.getLogger("router").error("cannot listen", extra=fields(where=where, why=str(error)))
    return _EXIT_WORLD


async def _run(settings: Settings, store: ObjectStore, environ: Mapping[str, str]) -> int:
    log = logging.getLogger("router")
    try:
        listening = listening_socket(host=settings.host, port=settings.port, fd=settings.listen_fd)
    except OSError as error:
        fd = settings.listen_fd
        return _cannot_listen(f"{settings.host}:{settings.port}" if fd is None else f"fd {fd}", error)
    refuse_open(listening, settings.access)
    if settings.grpc_port:
        refuse_open_host(settings.host, settings.access)
    host, port = listening.getsockname()[:2]
    notifier = Notifier(environ)

    def stopping() -> None:
        log.info("router stops", extra=fields(in_flight=sum(pool.outstanding for pool in router.pools)))
        notifier.stopping()
        router.crew.stopping()

    def ready() -> None:
        # What is here now stays: the collector need not look at it again and again. Requests make few cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 50)
        grpc = {"grpc_port": settings.grpc_port} if settings.grpc_port else {}
        event = fields(host=host, port=port, **grpc, store=store.url, ready=router.routes.ready)
        log.info("router serves", extra=event)
        notifier.ready()
        router.crew.serving()

    link_fd = int(environ[LINK_FD]) if LINK_FD in environ else None
    seats = [int(number) for number in environ.get(SEATS, "").split() if int(number) != settings.listen_fd]
    is_successor = bool(environ.get(SUCCESSOR))
    router = assemble(settings, store, on_stop=stopping, link_fd=link_fd, seats=seats, is_successor=is_successor)

    def stack_gone() -> None:
        log.info("stack gone, stopping")
        router.server.stop()

    if settings.lifeline_fd is not None:
        watch_lifeline(settings.lifeline_fd, stack_gone)
    await router.crew.open(router.server)
    try:
        await serve(router, listening, on_ready=ready)
    except OSError as error:
        return _cannot_listen(f"{settings.host}:{settings.grpc_port}", error)
    await router.crew.close()
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
