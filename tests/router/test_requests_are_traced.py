"""Traces: whose child each span is, what pools are told, and that no request waits for any of it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from botshard.oip.trace_context import read_traceparent
from router.settings import Settings
from router.telemetry.otlp import MissingExtraError, SpanSink
from router.telemetry.settings import TelemetrySettings
from tests.router.fleet import Fleet
from tests.router.otlp_receiver import Receiver, attributes_of, otlp_receiver
from tests.router.running import running_router
from tests.router.upstreams import Call, infer_answer, plain, upstream
from tests.waiting import aeventually

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_SPAN = "b7ad6b7169203331"
_SERVER, _CLIENT = 2, 3
_ERROR = 2


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where the spans go."""
    with otlp_receiver() as found:
        yield found


def _traced(receiver: Receiver, share: float = 1.0) -> TelemetrySettings:
    return TelemetrySettings(otlp_traces_url=f"{receiver.url}/v1/traces", trace_share=share)


def _by_kind(receiver: Receiver) -> tuple[list[Any], list[Any]]:
    """Spans of what clients asked, and of tries, in the order of time."""
    spans = sorted(receiver.spans, key=lambda span: span.start_time_unix_nano)
    return [span for span in spans if span.kind == _SERVER], [span for span in spans if span.kind == _CLIENT]


async def test_a_trace_goes_on_through_the_router(fleet: Fleet, receiver: Receiver) -> None:
    """The client's span is the parent of the router's, which is that of the try, which the pool is told as its own."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as pool:
        fleet.publish_table(pool.url)
        async with running_router(fleet, telemetry=_traced(receiver, 0.0)) as router:
            sent = {"traceparent": f"00-{_TRACE}-{_SPAN}-01", "tracestate": "vendor=1", "x-request-id": "r-1"}
            path = "/v2/models/bot/infer?key=secret"
            answer = await router.client.post(path, content=b"{}", headers=sent)
    assert answer.status_code == 200
    (server,), (client,) = _by_kind(receiver)
    assert server.trace_id.hex() == client.trace_id.hex() == _TRACE
    assert server.parent_span_id.hex() == _SPAN
    assert client.parent_span_id == server.span_id
    told = pool.calls[0].headers
    assert told["traceparent"] == f"00-{_TRACE}-{client.span_id.hex()}-01"
    assert told["tracestate"] == "vendor=1"
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    attributes = attributes_of(server)
    assert attributes["http.response.status_code"] == 200
    assert attributes["url.path"] == "/v2/models/bot/infer", "queries hold what nobody else may see"
    assert (attributes["botshard.bot"], attributes["botshard.request_id"]) == ("bot", "r-1")
    assert attributes_of(client)["server.port"] == pool.port
    assert receiver.resources[0]["service.name"] == "botshard-router"
    assert set(receiver.paths) == {"/v1/traces"}


async def test_each_try_is_a_span(fleet: Fleet, receiver: Receiver) -> None:
    """A gateway without a replica, then an answer: two spans below one, with what each came to, two ids told."""
    fleet.publish_bots("bot")

    async def answer(call: Call) -> None:
        is_first = len(pool.calls) == 1
        await call.write(plain(b"no replica", 503, content_type="text/plain") if is_first else infer_answer("bot"))

    async with upstream(answer) as pool:
        fleet.publish_table(pool.url)
        async with running_router(fleet, telemetry=_traced(receiver)) as router:
            assert (await router.infer("bot")).status_code == 200
    (server,), (failed, answered) = _by_kind(receiver)
    assert failed.parent_span_id == answered.parent_span_id == server.span_id
    assert (failed.status.code, answered.status.code) == (_ERROR, 0)
    assert attributes_of(failed)["error.type"] == "no_replica"
    assert attributes_of(answered)["http.request.resend_count"] == 1
    told = [read_traceparent(call.headers["traceparent"].encode()) for call in pool.calls]
    assert [f"{one.span_id:016x}" for one in told if one] == [failed.span_id.hex(), answered.span_id.hex()]
    assert not server.parent_span_id


async def test_failures_are_traced_too(fleet: Fleet, receiver: Receiver) -> None:
    """A bot that there is not has a span of the router, and none of a try."""
    fleet.publish_bots("bot")
    fleet.publish_table("http://127.0.0.1:1")
    async with running_router(fleet, telemetry=_traced(receiver)) as router:
        assert (await router.infer("nobody")).status_code == 404
    (server,), tries = _by_kind(receiver)
    assert tries == []
    assert attributes_of(server)["error.type"] == "unknown_bot"
    assert server.status.code == _ERROR


@pytest.mark.parametrize(
    "header", [f"00-{_TRACE}-{_SPAN}-00", None, "00-zz", f"00-{'0' * 32}-{_SPAN}-01"], ids=["no", "none", "bad", "zero"]
)
async def test_what_is_not_sampled_goes_through_unchanged(fleet: Fleet, receiver: Receiver, header: str | None) -> None:
    """Callers that do not trace are not traced, nor those that say nothing; what is no trace at all goes no further."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as pool:
        fleet.publish_table(pool.url)
        async with running_router(fleet, telemetry=_traced(receiver, 0.0)) as router:
            sent = {} if header is None else {"traceparent": header}
            answer = await router.client.post("/v2/models/bot/infer", content=b"{}", headers=sent)
    assert answer.status_code == 200
    is_right = header is not None and header.endswith("-00")
    assert pool.calls[0].headers.get("traceparent") == (header if is_right else None)
    assert receiver.spans == []


async def test_a_collector_that_hangs_holds_up_nobody(fleet: Fleet, receiver: Receiver) -> None:
    """Requests are answered as ever, and the router ends soon."""
    fleet.publish_bots("bot")
    receiver.hang.set()
    async with upstream(infer_answer("bot")) as pool:
        fleet.publish_table(pool.url)
        async with running_router(fleet, telemetry=_traced(receiver)) as router:
            statuses = {(await router.infer("bot")).status_code for _ in range(600)}
            spans = await router.metric("botshard_router_spans_total")
            stopping_s = time.monotonic()
    assert statuses == {200}
    assert spans == 1200
    assert time.monotonic() - stopping_s < 15
    await aeventually(_nobody_exports, within_s=15)


async def _nobody_exports() -> bool:
    return not any("BatchSpan" in thread.name for thread in threading.enumerate())


def test_traces_without_their_libraries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'botshard\[otel\]'"):
        SpanSink("http://127.0.0.1:4318/v1/traces")


@pytest.mark.parametrize(
    ("environ", "url", "share"),
    [
        ({}, "", 0.01),
        ({"ROUTER_OTLP_ENDPOINT": "http://a:4318/"}, "http://a:4318/v1/traces", 0.01),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "http://a:4318/v1/traces", 0.01),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/x"}, "http://a/x", 0.01),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}, "", 0.01),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, "", 0.5),
        ({"OTEL_TRACES_SAMPLER": "always_on", "ROUTER_TRACE_SHARE": "0.2"}, "", 0.2),
    ],
    ids=["off", "ours", "standard", "whole", "disabled", "sampler", "ours first"],
)
def test_the_standard_variables_stand_in_for_ours(environ: dict[str, str], url: str, share: float) -> None:
    """Whoever sets `OTEL_…` for all programs has set it for the router."""
    settings = Settings.read({"ROUTER_STORE_URL": "file:///x", **environ}).telemetry
    assert (settings.otlp_traces_url, settings.trace_share) == (url, share)
