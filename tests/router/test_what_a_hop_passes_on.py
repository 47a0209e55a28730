"""What a pool is told of the time that is left and of the trace that a request belongs to."""

from __future__ import annotations

import pytest

from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.upstreams import infer_answer, upstream

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("group_s", "client", "least_s", "most_s"),
    [
        pytest.param(8.0, None, 4.0, 7.998, id="the group's"),
        pytest.param(8.0, "6.5", 3.0, 6.498, id="the client's is shorter"),
        pytest.param(8.0, "60", 4.0, 7.998, id="the group's is shorter"),
    ],
)
async def test_a_pool_is_told_less_than_the_client_has_left(
    fleet: Fleet, group_s: float, client: str | None, least_s: float, most_s: float
) -> None:
    """What was spent here and what the way takes are cut off, so that the pool gives up first."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url, request_timeout_s=group_s)
        async with running_router(fleet) as router:
            for _ in range(3):
                await router.infer("bot", b"{}", **({} if client is None else {"x_request_timeout": client}))
    told_s = [float(call.headers["x-request-timeout"]) for call in server.calls]
    assert all(least_s < left_s <= most_s for left_s in told_s), told_s


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        pytest.param({"traceparent": PARENT}, {"traceparent": PARENT}, id="a parent"),
        pytest.param(
            {"traceparent": PARENT, "tracestate": "a=1,b=2"},
            {"traceparent": PARENT, "tracestate": "a=1,b=2"},
            id="a parent and a state",
        ),
        pytest.param({"traceparent": PARENT, "tracestate": "a"}, {"traceparent": PARENT}, id="a broken state"),
        pytest.param({"traceparent": PARENT[:-1], "tracestate": "a=1"}, {}, id="a broken parent"),
        pytest.param({"traceparent": PARENT.upper()}, {}, id="a parent in upper case"),
        pytest.param({"tracestate": "a=1"}, {}, id="a state alone"),
    ],
)
async def test_a_trace_is_passed_on_or_dropped(fleet: Fleet, sent: dict[str, str], passed: dict[str, str]) -> None:
    """Untouched where it can be read; what cannot would join what does not belong together."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            for _ in range(3):
                assert (await router.infer("bot", b"{}", **sent)).status_code == 200
    for call in server.calls:
        assert {name: call.headers[name] for name in ("traceparent", "tracestate") if name in call.headers} == passed


async def test_two_parents_are_none(fleet: Fleet) -> None:
    """Nobody can tell which of them it is."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            headers = [("traceparent", PARENT), ("traceparent", PARENT.replace("7-", "8-")), ("tracestate", "a=1")]
            await router.client.post("/v2/models/bot/infer", content=b"{}", headers=headers)
            headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
            await router.client.post("/v2/models/bot/infer", content=b"{}", headers=headers)
    first, second = server.calls
    assert "traceparent" not in first.headers
    assert "tracestate" not in first.headers
    assert second.headers["tracestate"] == "b=2"  # the upstream of this test keeps the last of two
