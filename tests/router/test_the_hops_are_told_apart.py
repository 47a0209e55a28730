"""Gateway, activator, queue-proxy, replica: whose answer it is, and what it means for the request."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from router.answers import ROWS, Hop, Verdict, needs_text, row_of
from router.heads import read_answer_head

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_JSON = (b"content-type", b"application/json")
_ENVOY = (b"server", b"envoy")
_THROUGH = (b"x-envoy-upstream-service-time", b"3")
_OURS = (b"x-botshard-epoch", b"7")
_RESET = b"upstream connect error or disconnect/reset before headers. reset reason: "


@dataclass(frozen=True)
class Case:
    """An answer as it comes, and what is to be known of it."""

    status: int
    text: bytes
    hop: Hop
    reason: str
    verdict: Verdict
    headers: tuple[tuple[bytes, bytes], ...] = (_TEXT, _ENVOY, _THROUGH)


_OWN = (_TEXT, _ENVOY)
CASES = {
    # Each as a real Envoy 1.40 sends it; the tests of the gateway bring most of them about.
    "Envoy without a route": Case(404, b"", Hop.GATEWAY, "no_route", Verdict.UNROUTED, (_ENVOY,)),
    "Envoy's circuit breaker": Case(
        503, _RESET + b"overflow", Hop.GATEWAY, "overflow", Verdict.OVERFLOW, (*_OWN, (b"x-envoy-overloaded", b"true"))
    ),
    "Envoy's circuit breaker without its headers": Case(
        503, _RESET + b"overflow", Hop.GATEWAY, "overflow", Verdict.OVERFLOW, (_TEXT,)
    ),
    "Envoy's overload manager": Case(
        503,
        b"envoy overloaded",
        Hop.GATEWAY,
        "overloaded",
        Verdict.OVERFLOW,
        (*_OWN, (b"x-envoy-local-overloaded", b"true")),
    ),
    "Envoy without an endpoint": Case(
        503, b"no healthy upstream", Hop.GATEWAY, "no_endpoint", Verdict.NO_REPLICA, _OWN
    ),
    "Envoy without a connection": Case(
        503, _RESET + b"remote connection failure", Hop.GATEWAY, "no_connection", Verdict.NO_REPLICA, _OWN
    ),
    "Envoy without a connection in time": Case(
        503, _RESET + b"connection timeout", Hop.GATEWAY, "no_connection", Verdict.NO_REPLICA, _OWN
    ),
    "Envoy's connection ends after the request": Case(
        503, _RESET + b"connection termination", Hop.GATEWAY, "lost", Verdict.LOST, _OWN
    ),
    "Envoy, for a reason that is not known": Case(
        503, _RESET + b"a new one", Hop.GATEWAY, "no_connection", Verdict.NO_REPLICA, _OWN
    ),
    "Envoy gets what is no HTTP": Case(
        502, _RESET + b"protocol error", Hop.GATEWAY, "invalid_answer", Verdict.WRAP, _OWN
    ),
    "Envoy's own time limit": Case(504, b"upstream request timeout", Hop.GATEWAY, "timeout", Verdict.WRAP, _OWN),
    "Envoy's rate limit": Case(
        429, b"", Hop.GATEWAY, "limited", Verdict.WRAP, (_ENVOY, (b"x-envoy-ratelimited", b"true"))
    ),
    "Envoy, anything else": Case(413, b"Payload Too Large", Hop.GATEWAY, "error", Verdict.WRAP, _OWN),
    "activator: nothing came up in time": Case(
        504, b"activator request timeout", Hop.ACTIVATOR, "timeout", Verdict.WRAP
    ),
    "activator: no room in time": Case(503, b"context deadline exceeded\n", Hop.ACTIVATOR, "no_capacity", Verdict.FULL),
    "activator: too many": Case(503, b"activator overload\n", Hop.ACTIVATOR, "overload", Verdict.FULL),
    "activator: the revision is gone": Case(
        404,
        b'Error getting active endpoint: revision.serving.knative.dev "x" not found\n',
        Hop.ACTIVATOR,
        "no_revision",
        Verdict.UNROUTED,
    ),
    "activator: the revision cannot be read": Case(
        500, b"Error getting active endpoint: timed out\n", Hop.ACTIVATOR, "no_revision", Verdict.NO_REPLICA
    ),
    "activator: the pod is gone": Case(
        502,
        b"dial tcp 10.244.0.12:8012: connect: connection refused\n",
        Hop.ACTIVATOR,
        "no_connection",
        Verdict.NO_REPLICA,
    ),
    "activator: the pod goes": Case(
        502,
        b"read tcp 10.244.0.7:41522->10.244.0.12:8012: read: connection reset by peer\n",
        Hop.ACTIVATOR,
        "lost",
        Verdict.LOST,
    ),
    "queue-proxy: its queue is full": Case(503, b"pending request queue full\n", Hop.QUEUE_PROXY, "full", Verdict.FULL),
    "queue-proxy: the process is gone": Case(
        502,
        b"dial tcp 127.0.0.1:8080: connect: connection refused\n",
        Hop.QUEUE_PROXY,
        "no_process",
        Verdict.NO_REPLICA,
    ),
    "queue-proxy: the process goes": Case(
        502,
        b"read tcp 127.0.0.1:51210->127.0.0.1:8080: read: connection reset by peer\n",
        Hop.QUEUE_PROXY,
        "lost",
        Verdict.LOST,
    ),
    "queue-proxy: the process says goodbye": Case(502, b"EOF\n", Hop.QUEUE_PROXY, "lost", Verdict.LOST),
    "queue-proxy: the time is up": Case(504, b"request timeout", Hop.QUEUE_PROXY, "timeout", Verdict.WRAP),
    "a model server without the bot": Case(
        404, b'{"error":"Model with name b does not exist."}', Hop.REPLICA, "not_found", Verdict.NOT_FOUND, (_JSON,)
    ),
    "a model server without the bot, asked by HEAD": Case(
        404, b"", Hop.REPLICA, "not_found", Verdict.NOT_FOUND, (_JSON,)
    ),
    "a model server without the path": Case(
        404, b'{"detail":"Not Found"}', Hop.REPLICA, "no_such_path", Verdict.UNROUTED, (_JSON,)
    ),
    "a model server that is not ready": Case(
        503, b'{"error":"Model b is not ready"}', Hop.REPLICA, "not_ready", Verdict.WRAP, (_JSON,)
    ),
    "a model server that speaks of queues": Case(
        503, b'{"error":"pending request queue full"}', Hop.REPLICA, "not_ready", Verdict.WRAP, (_JSON,)
    ),
    "ours, not ready": Case(503, b'{"error":"x"}', Hop.REPLICA, "answer", Verdict.FORWARD, (_JSON, _OURS)),
    "ours, without the bot": Case(404, b'{"error":"x"}', Hop.REPLICA, "not_found", Verdict.NOT_FOUND, (_JSON, _OURS)),
    "ours, moved": Case(421, b'{"error":"x"}', Hop.REPLICA, "misdirected", Verdict.MISDIRECTED, (_JSON, _OURS)),
    "ours, through Envoy": Case(
        500, b"upstream connect error", Hop.REPLICA, "answer", Verdict.FORWARD, (_TEXT, _ENVOY, _THROUGH, _OURS)
    ),
    "another proxy's page": Case(
        404, b"<html>", Hop.GATEWAY, "not_found", Verdict.UNROUTED, ((b"content-type", b"text/html"),)
    ),
    "another proxy's 502": Case(502, b"<html>", Hop.GATEWAY, "bad_gateway", Verdict.NO_REPLICA, (_TEXT,)),
    "another proxy's 503": Case(503, b"<html>", Hop.GATEWAY, "unavailable", Verdict.NO_REPLICA, (_TEXT,)),
    "another proxy's 503 until later": Case(
        503, b"<html>", Hop.GATEWAY, "not_now", Verdict.WRAP, (_TEXT, (b"retry-after", b"2"))
    ),
    "another proxy's 504": Case(504, b"", Hop.GATEWAY, "timeout", Verdict.WRAP, ()),
    "a model server's own error": Case(400, b"no", Hop.REPLICA, "error", Verdict.WRAP, (_TEXT,)),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_each_hop_is_known_by_its_answer(case: Case) -> None:
    """Hop, reason and verdict."""
    row = row_of(case.status, read_answer_head(list(case.headers)), case.text)
    assert (case.hop, case.reason, case.verdict) == (row.hop, row.reason, row.verdict)


def test_every_row_is_met_by_a_case() -> None:
    """No row is there that nothing can reach."""
    met = {row_of(case.status, read_answer_head(list(case.headers)), case.text) for case in CASES.values()}
    assert not set(ROWS) - met


def test_every_row_says_where_it_is_known_from() -> None:
    """A sign without a source is a guess."""
    assert all(row.source for row in ROWS)


def test_labels_are_few() -> None:
    """All pairs of hop and reason that the metric can have stand in the table."""
    assert len({(row.hop, row.reason) for row in ROWS}) < 40


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        pytest.param(200, [_JSON], False, id="a success"),
        pytest.param(503, [_TEXT], True, id="a foreign 503"),
        pytest.param(503, [_JSON, _OURS], False, id="a replica's 503"),
        pytest.param(404, [(b"content-length", b"0")], False, id="an empty 404"),
        pytest.param(418, [_TEXT], False, id="a status that nothing in the table has"),
    ],
)
def test_a_body_is_waited_for_only_where_it_tells_something(
    status: int, headers: list[tuple[bytes, bytes]], expected: object
) -> None:
    """A success never is."""
    assert expected is needs_text(status, read_answer_head(headers))
