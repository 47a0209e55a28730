"""The gate before everything that is no request to a bot: listings, metrics, the look inside."""

from __future__ import annotations

from typing import Final

from botshard.http1.asgi import Application, Receive, Scope, Send
from botshard.sharding.errors import ShardingError
from router.access.gate import Gate
from router.access.principal import Principal
from router.problems import problem_of

__all__ = ["guarded", "principal_in"]

_OPEN: Final = frozenset({"/v2", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"})
"""Says nothing of any bot: probes and readers of the description need no key."""
_METRICS: Final = "/metrics"
_ADMIN: Final = "/admin"
_PRINCIPAL: Final = "botshard.principal"


def guarded(app: Application, gate: Gate, *, metrics_open: bool) -> Application:
    """`app` behind `gate`. A path that is not known to be open needs a key: none is open by an oversight."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in _OPEN or (metrics_open and path == _METRICS):
            await app(scope, receive, send)
            return
        try:
            principal = gate.who(dict(scope["headers"]))
            if path.startswith((_ADMIN, _METRICS)):
                lease = gate.admit_to_administration(principal)
            else:
                lease = gate.admit_to_listings(principal)
        except ShardingError as error:
            problem = problem_of(error)
            await send({"type": "http.response.start", "status": problem.status, "headers": problem.headers})
            await send({"type": "http.response.body", "body": problem.body})
            return
        try:
            await app({**scope, _PRINCIPAL: lease.principal}, receive, send)
        finally:
            lease.give_back()

    return answer


def principal_in(scope: Scope, /) -> Principal | None:
    """Who asks; None where nobody is asked."""
    found = scope.get(_PRINCIPAL)
    return found if isinstance(found, Principal) else None
