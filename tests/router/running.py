"""A router in this process, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from router.access.settings import AccessSettings, TlsSettings
from router.health import HealthRules
from router.limits import Limits
from router.main import Router, assemble, serve
from router.probing import ProbeRules
from router.settings import Settings
from router.telemetry.settings import TelemetrySettings
from tests.router.fleet import Fleet

__all__ = ["RunningRouter", "running_router"]


@dataclass(slots=True)
class RunningRouter:
    """A router that serves."""

    parts: Router
    port: int
    client: httpx.AsyncClient
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def infer(self, bot: str, body: bytes = b'{"inputs":[]}', **headers: str) -> httpx.Response:
        """Ask a bot; `x_y="1"` becomes the header `x-y: 1`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"/v2/models/{bot}/infer", content=body, headers=sent)

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric whose labels contain `labels`."""
        text = (await self.client.get("/metrics")).text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in text.splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and all(item in line for item in wanted):
                total += float(line.rsplit(" ", 1)[1])
        return total


@contextlib.asynccontextmanager
async def running_router(
    fleet: Fleet,
    *,
    limits: Limits | None = None,
    health: HealthRules | None = None,
    probes: ProbeRules | None = None,
    poll_interval_s: float = 0.05,
    telemetry: TelemetrySettings | None = None,
    gateway: str | None = None,
    access: AccessSettings | None = None,
    tls: TlsSettings | None = None,
    trust: ssl.SSLContext | None = None,
    hedge: bool = False,
    grpc_port: int = 0,
) -> AsyncIterator[RunningRouter]:
    """A router over the fleet's store, stopped at the end; `trust`: the client's side where it has TLS.

    Without `probes` nothing is asked that tests did not ask.
    """
    settings = Settings(
        store_url=fleet.url,
        poll_interval_s=poll_interval_s,
        limits=limits or Limits(),
        health=health or HealthRules(),
        probes=probes or ProbeRules(idle_s=0.0),
        drain_timeout_s=1.0,
        telemetry=telemetry or TelemetrySettings(),
        gateway=gateway,
        grpc_port=grpc_port,
        access=access or AccessSettings(),
        tls=tls or TlsSettings(),
        hedge=hedge,
    )
    parts = assemble(settings, fleet.store)
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(parts, listening, on_ready=ready.set))
    await ready.wait()
    try:
        scheme = "http" if trust is None else "https"
        verify = trust if trust is not None else True
        async with httpx.AsyncClient(base_url=f"{scheme}://127.0.0.1:{port}", timeout=20.0, verify=verify) as client:
            yield RunningRouter(parts, port, client, scheme)
    finally:
        parts.server.stop()
        await serving
