"""One replica: constructs everything, runs until it is told to end, drains. Only here the environment is read.

What is imported here is imported before the first answer (`tests/kserve_runtimes/test_imports.py` has the list): not
KServe's SDK, no framework, and nothing that takes a while.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TextIO

import uvloop
from prometheus_client import REGISTRY

from botshard.lifeline import watch_lifeline
from botshard.logs import configure_logs, fields
from botshard.notify import Notifier
from botshard.sharding.errors import WorldError
from botshard.store.artifact_cache import ArtifactCache
from botshard.store.base import ObjectStore
from botshard.store.urls import open_store
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.inference import Inference
from kserve_runtimes.core.loading import BotLoader
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.notices import LoadNotices
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.core.queues import QueueBounds
from kserve_runtimes.core.reporting import Reporter, current_rss_bytes
from kserve_runtimes.core.residents import Residents
from kserve_runtimes.core.room import MemoryBounds
from kserve_runtimes.declared.models import DeclaredModels
from kserve_runtimes.frameworks import LateFramework, make_framework
from kserve_runtimes.gpu import wants_gpu
from kserve_runtimes.late import Imports
from kserve_runtimes.serving.behind import Behind
from kserve_runtimes.serving.replica_server import ReplicaServer
from kserve_runtimes.serving.sharing import ArtifactShare
from kserve_runtimes.settings import Settings, read_settings

if TYPE_CHECKING:
    from kserve_runtimes.core.siblings import Siblings
    from kserve_runtimes.serving.server import PoolServer

__all__ = ["run"]

log = logging.getLogger(__name__)

_EXIT_SETTINGS = 2
_EXIT_WORLD = 1


def run(environ: Mapping[str, str], /, *, built: PoolServer | None = None, errors: TextIO | None = None) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline; the process's exit code.

    Args:
        environ: settings.
        built: KServe's server where it was imported and built before (by a zygote); None: that is done behind the
            first answers.
        errors: where wrong settings are told, standard error by default.
    """
    try:
        settings = read_settings(environ)
    except WorldError as error:
        (errors or sys.stderr).write(f"{error}\n")
        return _EXIT_SETTINGS
    _configure_logs(settings)
    if built is None:
        # What was imported stays for good: a zygote has frozen it, here the collector is spared it from now on.
        gc.freeze()
        gc.enable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, environ, built))
    except (WorldError, OSError) as error:
        log.error("replica cannot start", extra=fields(pool=settings.pool, problem=str(error)))  # noqa: TRY400 - no defect
        return _EXIT_WORLD


def _configure_logs(settings: Settings) -> None:
    configure_logs(f"pool.{settings.framework}", as_json=settings.log_format == "json", level=settings.log_level)
    # Warnings of libraries are for their callers' authors, not for those who run a pool.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def _memory_bounds(settings: Settings) -> MemoryBounds:
    return MemoryBounds(
        budget_bytes=settings.pool_memory_bytes,
        realtime_may_evict=settings.overcommit > 1,
        idle_after_s=settings.bot_idle_after_s,
    )


def _siblings(settings: Settings, store: ObjectStore) -> Siblings:
    """The other replicas of the pool, to get artifacts from."""
    from kserve_runtimes.core.siblings import Siblings

    return Siblings(store, settings.pool, replica=settings.replica)


def _late_framework(settings: Settings, imports: Imports) -> LateFramework:
    make = partial(
        make_framework,
        settings.framework,
        threads=settings.threads,
        device=settings.device,
        encoding_cache_bytes=settings.encoding_cache_bytes,
        model_classes=settings.model_classes,
        scratch=settings.cache_dir / "scratch",
    )
    by_numpy = settings.framework == "torch" and not wants_gpu(settings.device)
    framework = LateFramework(settings.framework, imports, make, declared=DeclaredModels() if by_numpy else None)
    if settings.device == "cuda":
        framework.use()  # a GPU that is not there is told now, and not to each bot
    return framework


def _build_sdk_server(settings: Settings) -> PoolServer:
    from kserve_runtimes.serving.server import PoolServer

    server = PoolServer()
    _configure_logs(settings)  # again: building the SDK's server configures some of its own
    return server


def _listener(settings: Settings) -> socket.socket:
    """The socket to accept on: the inherited one, or a new one."""
    if settings.listen_fd is not None:
        return socket.socket(fileno=settings.listen_fd)
    listener = socket.create_server(("", settings.http_port), backlog=1024)
    log.info("listening", extra=fields(port=listener.getsockname()[1]))
    return listener


async def _serve(settings: Settings, environ: Mapping[str, str], built: PoolServer | None) -> int:  # noqa: PLR0915 - constructs all
    listener = _listener(settings)
    store = open_store(settings.store_url, environ, make=False)
    notifier = Notifier(environ)
    metrics = Metrics(REGISTRY, top_bots=settings.top_bots)
    notices = LoadNotices(notifier)
    follower = Follower(store, pool=settings.pool, metrics=metrics)
    imports = Imports()
    start_rss_bytes = current_rss_bytes()
    framework = _late_framework(settings, imports)
    # Siblings need an HTTP client, which a replica without any does not import.
    siblings = _siblings(settings, store) if settings.advertise_url and settings.share_artifacts else None
    cache = ArtifactCache(settings.cache_dir, most_bytes=settings.cache_bytes, nearby=siblings)
    cache.on_used = lambda origin: metrics.artifacts.labels(origin).inc()
    load = BotLoader(store, cache, framework, settings.pool_memory_bytes)
    loaders = ThreadPoolExecutor(settings.loaders, "load")
    models = ThreadPoolExecutor(settings.threads, "model")
    pool = Pool(
        name=settings.pool,
        follower=follower,
        residents=Residents(
            load, executor=loaders, loaders=settings.loaders, metrics=metrics, memory=_memory_bounds(settings)
        ),
        notices=notices,
        metrics=metrics,
        request_timeout_s=settings.request_timeout_s,
    )
    pool.ready_share = settings.ready_share
    pool.on_ready = notifier.ready
    reporter = Reporter(
        store,
        pool,
        replica=settings.replica,
        follower=follower,
        notices=notices,
        base_rss_bytes=lambda: start_rss_bytes + imports.grown_bytes,
        url=settings.advertise_url if siblings is not None else None,
    )
    reporter.device_bytes = lambda: framework.device_bytes
    reporter.device_free_bytes = lambda: framework.device_free_bytes
    inference = Inference(
        pool, models, threads=settings.threads, bounds=QueueBounds(settings.bot_queue, settings.queue)
    )
    behind = Behind(
        pool,
        imports,
        lambda: _build_sdk_server(settings),
        built=built,
        # Models of a framework are full of references in circles, which nobody would find once they are frozen.
        may_freeze=lambda: not framework.is_used,
    )
    server = ReplicaServer(
        inference,
        behind,
        imports,
        grpc_port=settings.grpc_port,
        max_body_bytes=settings.max_body_bytes,
        tells_times=settings.server_timing,
        grace_s=settings.grace_s,
        share=ArtifactShare(cache) if siblings is not None else None,
    )
    if siblings is not None:
        reporter.on_read = siblings.note

    def end(reason: str) -> None:
        log.info("draining", extra=fields(reason=reason, in_flight=notices.in_flight))
        notifier.stopping()
        server.drain()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, signal.Signals(number).name)
    if settings.lifeline_fd is not None:
        watch_lifeline(settings.lifeline_fd, lambda: end("lifeline cut"))

    beside = [
        asyncio.create_task(pool.follow(settings.poll_interval_s, expected=reporter.expected)),
        asyncio.create_task(reporter.keep_reporting(settings.report_interval_s)),
    ]
    if built is None and settings.sdk == "quiet":
        beside.append(asyncio.create_task(behind.begin_when_quiet()))
    try:
        await server.serve(listener, on_listening=pool.note_listening)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    if pool.is_complete:
        await reporter.report(is_last=True)
    if siblings is not None:
        siblings.close()
    reporter.close()
    follower.close()
    for executor in (loaders, models):
        executor.shutdown(wait=False, cancel_futures=True)
    notifier.close()
    log.info("ended", extra=fields(requests=notices.requests, pid=os.getpid()))
    return 0
