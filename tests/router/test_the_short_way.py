"""Requests that are known by their bytes: nobody can tell that they went the short way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.remembered import Remembered, split_ids, split_timing
from router.short import ShortWay
from tests.router.fleet import SLEEPY, Fleet, pool
from tests.router.running import RunningRouter, running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.router.views import View, connected, views_of
from tests.waiting import aeventually

_BODY = b'{"inputs":[1]}'
_SAME = 6
"""Times that a request is sent: heads are learnt from the second, and answers from the second after those."""


def request(*lines: str, path: str = "/v2/models/bot/infer", body: bytes = _BODY, method: str = "POST") -> bytes:
    """A request as a plain client sends it, with more header lines."""
    head = [f"{method} {path} HTTP/1.1", "Host: bots.example", "Accept: */*", *lines, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def taken(router: RunningRouter) -> int:
    """Requests that have gone the short way, at least at first."""
    shortcut = router.parts.server.shortcut
    assert isinstance(shortcut, ShortWay)
    return shortcut.taken


async def ask(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes, method: str = "POST") -> View:
    """One request, and h11's view of the answer."""
    reader, writer = client
    writer.write(data)
    [view] = await views_of(reader, [method])
    return view


async def learn(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> None:
    """Ask until heads of request and answer are known."""
    for _ in range(4):
        assert (await ask(client, data)).status == 200


@asynccontextmanager
async def serving(
    fleet: Fleet, answer: Callable[[Call], Awaitable[None]] | bytes, *, bots: tuple[str, ...] = ("bot",), **table: float
) -> AsyncIterator[tuple[RunningRouter, Upstream]]:
    """A router before one pool."""
    fleet.publish_bots(*bots)
    async with upstream(answer) as server:
        fleet.publish_table(server.url, **table)  # type: ignore[arg-type]
        async with running_router(fleet) as router:
            yield router, server


async def _until(check: Callable[[], bool]) -> None:
    async def checked() -> bool:
        return check()

    await aeventually(checked, within_s=10)


def _epoch(router: RunningRouter) -> int:
    table = router.parts.routes.table
    return 0 if table is None else table.epoch


USUAL = {
    "plain": request(),
    "names in capitals": request("CONTENT-TYPE: application/json", "USER-AGENT: x"),
    "an id of the client's": request("X-Request-Id: mine-17"),
    "traced": request("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=1"),
    "a time of its own": request("X-Request-Timeout: 2.5"),
    "kept alive in words": request("Connection: keep-alive"),
    "came through another proxy": request("Forwarded: for=10.1.2.3", "Via: 1.1 other"),
    "an epoch that nobody asked for": request("X-Botshard-Epoch: 77"),
    "no body": request(body=b""),
    "large": request(body=b"x" * 20_000),
}
ODD = {
    "a version": request(path="/v2/models/bot/versions/1/infer"),
    "a query": request(path="/v2/models/bot/infer?x=1"),
    "quoted": request(path="/v2/models/%62ot/infer"),
    "by the first protocol": request(path="/v1/models/bot:predict"),
    "another method": request(method="GET", path="/v2/models/bot/ready", body=b""),
    "names a header in Connection": request("X-Mine: 1", "Connection: keep-alive, x-mine"),
    "trailers": request("TE: trailers"),
    "two ids": request("X-Request-Id: one", "X-Request-Id: two"),
    "HTTP/1.0": request("Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("data", [*USUAL.values(), *ODD.values()], ids=[*USUAL, *ODD])
async def test_each_time_is_as_the_first(fleet: Fleet, data: bytes) -> None:
    """The pool is sent the same head each time, and the client gets the same answer, but for ids that we make."""
    ignored = {"date", "x-request-timeout"} | (set() if b"x-request-id" in data.lower() else {"x-request-id"})

    def kept(headers: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in headers.items() if name not in ignored}

    async with serving(fleet, infer_answer("bot")) as (router, server), connected(router.port) as client:
        method = data.split(b" ", 1)[0].decode()
        views = [await ask(client, data, method) for _ in range(_SAME)]
        short = taken(router)
        requests = await router.metric("botshard_router_requests_total", outcome="answered", code="2xx")
        seconds = await router.metric("botshard_router_request_seconds_count")
        outstanding = await router.metric("botshard_router_outstanding")
    assert {view.status for view in views} == {200}
    assert [kept(view.headers) for view in views] == [kept(views[0].headers)] * _SAME
    assert {view.body for view in views} == {views[0].body}
    assert [kept(call.headers) for call in server.calls] == [kept(server.calls[0].headers)] * _SAME
    times = [float(call.headers["x-request-timeout"]) for call in server.calls]
    assert times == pytest.approx([times[0]] * _SAME, abs=0.3)
    assert [(call.method, call.path, call.body) for call in server.calls] == [
        (server.calls[0].method, server.calls[0].path, server.calls[0].body)
    ] * _SAME
    assert (requests, seconds, outstanding) == (_SAME, _SAME, 0)
    assert short == (_SAME - 2 if data in USUAL.values() else 0)


async def test_an_empty_line_before_a_request_is_no_part_of_it(fleet: Fleet) -> None:
    """Parsers pass over it; what follows is another bot's request all the same."""
    async with (
        serving(fleet, infer_answer("bot"), bots=("alpha", "beta")) as (router, server),
        connected(router.port) as client,
    ):
        for bot in ("alpha", "beta", "alpha", "beta", "beta", "alpha", "beta"):
            assert (await ask(client, b"\r\n" + request(path=f"/v2/models/{bot}/infer"))).status == 200
            assert server.calls[-1].path == f"/v2/models/{bot}/infer"
        assert taken(router) == 0


async def test_bodies_that_are_accounted_for_go_the_long_way(fleet: Fleet) -> None:
    """What is held of them has a bound for all requests together."""
    async with serving(fleet, infer_answer("bot")) as (router, _), connected(router.port) as client:
        for _ in range(_SAME):
            assert (await ask(client, request(body=b"x" * 70_000))).status == 200
        assert taken(router) == 0


async def test_every_request_has_an_id_and_a_trace_of_its_own(fleet: Fleet) -> None:
    """Ids that the client gives go to the pool and back, whatever they are; where it gives none, each gets another."""
    async with serving(fleet, infer_answer("bot")) as (router, server), connected(router.port) as client:
        given_ids, made_ids = [], []
        for number in range(_SAME):
            view = await ask(
                client, request(f"x-REQUEST-id: r{number}", f"Traceparent: 00-{number + 1:032x}-{1:016x}-00")
            )
            given_ids.append(view.headers["x-request-id"])
        for _ in range(_SAME):
            view = await ask(client, request())
            made_ids.append(view.headers["x-request-id"])
        short = taken(router)
    assert given_ids == [f"r{number}" for number in range(_SAME)]
    assert len(set(made_ids)) == _SAME
    assert [call.headers["x-request-id"] for call in server.calls] == given_ids + made_ids
    traces = [{name.lower(): value for name, value in call.headers.items()}.get("traceparent") for call in server.calls]
    assert traces[:_SAME] == [f"00-{number + 1:032x}-{1:016x}-00" for number in range(_SAME)]
    assert short >= 2 * _SAME - 4


ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "in chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, b"hi"),
    "another length": (plain(b'{"more":"than before"}'), 200, b'{"more":"than before"}'),
    "an error of the bot's": (plain(b'{"error":"x"}', 400, x_botshard_epoch="1"), 400, b'{"error":"x"}'),
    "an interim answer first": (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"late"), 200, b"late"),
    "the end of the connection": (plain(b"bye", connection="close"), 200, b"bye"),
    "not HTTP": (b"hello, world\r\n\r\n", 502, b""),
}


@pytest.mark.parametrize(("sent", "status", "body"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_not_known_is_read_by_the_parser(
    fleet: Fleet, sent: bytes, status: int, body: bytes
) -> None:
    """The request is on its way already when something else than usual comes back; the next one goes on as usual."""

    async def answer(call: Call) -> None:
        await call.write(sent if len(server.calls) == 5 else plain(b"usual"))

    async with serving(fleet, answer) as (router, server), connected(router.port) as client:
        await learn(client, request())
        before = taken(router)
        view = await ask(client, request())
        assert (view.status, taken(router)) == (status, before + 1)
        assert view.body == body or status == 502
        assert (await ask(client, request())).body == b"usual"
        assert await router.metric("botshard_router_outstanding") == 0


async def test_an_answer_in_pieces_is_whole_at_the_client(fleet: Fleet) -> None:
    """A known head whose body comes later, and a head that comes byte by byte."""

    async def answer(call: Call) -> None:
        whole = infer_answer("bot")
        if len(server.calls) == 5:
            for at in range(len(whole)):
                await call.write(whole[at : at + 1])
                await asyncio.sleep(0)
        elif len(server.calls) == 6:
            await call.write(whole[:-10])
            await call.write(whole[-10:])
        else:
            await call.write(whole)

    async with serving(fleet, answer) as (router, server), connected(router.port) as client:
        views = [await ask(client, request()) for _ in range(8)]
    assert {view.body for view in views} == {infer_answer("bot").partition(b"\r\n\r\n")[2]}


FAILURES = {
    "reset": None,
    "no replica": plain(b"no healthy upstream", 503, content_type="text/plain"),
    "not its own": plain(b'{"error":"not mine"}', 421, x_botshard_epoch="1"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_what_fails_on_the_short_way_is_saved_on_the_long_one(fleet: Fleet, failure: bytes | None) -> None:
    """The pool fails the request that went the short way: it is tried again, and the client knows nothing of it."""

    async def answer(call: Call) -> None:
        if len(server.calls) != 5:
            await call.write(infer_answer("bot"))
        elif failure is None:
            call.reset()
        else:
            await call.write(failure)

    async with serving(fleet, answer) as (router, server), connected(router.port) as client:
        await learn(client, request("X-Request-Id: kept"))
        before = taken(router)
        view = await ask(client, request("X-Request-Id: kept"))
        assert taken(router) == before + 1
        assert await router.metric("botshard_router_retries_total") == 1
        assert await router.metric("botshard_router_outstanding") == 0
    assert (view.status, view.headers["x-request-id"]) == (200, "kept")
    assert [call.body for call in server.calls] == [_BODY] * 6


async def test_the_time_of_a_request_on_the_short_way_ends(fleet: Fleet) -> None:
    """504 when the pool does not answer, and the connection to the pool is not used again."""

    async def answer(call: Call) -> None:
        if len(server.calls) == 5:
            await call.gone.wait()
        else:
            await call.write(infer_answer("bot"))

    async with serving(fleet, answer, request_timeout_s=0.5) as (router, server), connected(router.port) as client:
        await learn(client, request())
        view = await ask(client, request())
        assert view.status == 504
        assert "0.5 s" in json.loads(view.body)["error"]
        await asyncio.wait_for(server.calls[4].gone.wait(), 5)
        assert (await ask(client, request())).status == 200
        assert await router.metric("botshard_router_requests_total", outcome="deadline") == 1


async def test_a_client_that_goes_ends_its_request_at_the_pool(fleet: Fleet) -> None:
    """The pool sees its connection end, and the request is counted as given up."""

    async def answer(call: Call) -> None:
        if len(server.calls) == 5:
            await call.gone.wait()
        else:
            await call.write(infer_answer("bot"))

    async with serving(fleet, answer) as (router, server):
        async with connected(router.port) as client:
            await learn(client, request())
            client[1].write(request())
            await _until(lambda: len(server.calls) == 5)
            client[1].transport.abort()
            await asyncio.wait_for(server.calls[4].gone.wait(), 5)
        assert await router.metric("botshard_router_requests_total", outcome="client_gone") == 1
        assert await router.metric("botshard_router_outstanding") == 0


async def test_what_comes_while_a_request_is_on_the_short_way_waits_its_turn(fleet: Fleet) -> None:
    """Pipelined: answers come in the order of the requests, whichever way each of them went."""

    async def answer(call: Call) -> None:
        await call.write(plain(call.body, x_botshard_epoch="1"))

    async with serving(fleet, answer) as (router, _), connected(router.port) as (reader, writer):
        bodies = [b"%04d" % number for number in range(40)]
        for body in bodies[:20]:
            writer.write(request(body=body))
            await writer.drain()
            await asyncio.sleep(0)
        first = await views_of(reader, ["POST"] * 20)
        writer.write(b"".join(request(body=body) for body in bodies[20:]))
        second = await views_of(reader, ["POST"] * 20)
    assert [view.body for view in first + second] == bodies


async def test_a_client_that_closes_its_side_gets_its_answer(fleet: Fleet) -> None:
    """Half-closed with a request on the short way: the answer says that the connection ends, and it does."""
    may_answer = asyncio.Event()

    async def answer(call: Call) -> None:
        if len(server.calls) == 5:
            await may_answer.wait()
        await call.write(infer_answer("bot"))

    async with serving(fleet, answer) as (router, server), connected(router.port) as (reader, writer):
        await learn((reader, writer), request())
        writer.write(request())
        writer.write_eof()
        await _until(lambda: len(server.calls) == 5)
        may_answer.set()
        [view] = await views_of(reader, ["POST"])
        assert (view.status, view.is_kept) == (200, False)


async def test_table_and_catalog_of_the_moment_decide(fleet: Fleet) -> None:
    """A bot that moves is asked where it is now; one that is retired is not known any more."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot", epoch=9)) as old, upstream(infer_answer("bot", epoch=9)) as new:
        fleet.publish_table(old.url)
        async with running_router(fleet) as router, connected(router.port) as client:
            await learn(client, request())
            fleet.publish_table(new.url)
            await _until(lambda: _epoch(router) == 2)
            before = len(old.calls)
            assert (await ask(client, request())).status == 200
            assert (await ask(client, request())).status == 200
            assert (len(old.calls), len(new.calls)) == (before, 2)
            fleet.publish_bots("bot", retired=True)
            await _until(lambda: router.parts.routes.find("bot") is None)
            assert (await ask(client, request())).status == 404


async def test_a_pool_that_may_be_at_zero_gets_its_time(fleet: Fleet) -> None:
    """What the pool is told is the time that the request really has, also on the short way."""
    fleet.publish_bots("bot", key=SLEEPY)
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(sleepy=[server.url], request_timeout_s=2.0, cold_start_timeout_s=7.0)
        async with running_router(fleet) as router, connected(router.port) as client:
            await learn(client, request())
            assert (await ask(client, request())).headers["x-botshard-pool"] == pool(0, SLEEPY)
    told = [float(call.headers["x-request-timeout"]) for call in server.calls]
    assert told[0] == pytest.approx(9.0, abs=0.2)
    assert told[-1] == pytest.approx(2.0, abs=0.2)


async def test_a_router_that_stops_tells_clients_of_the_short_way(fleet: Fleet) -> None:
    """From the moment that it drains, answers say that the connection ends."""
    may_answer = asyncio.Event()

    async def answer(call: Call) -> None:
        if len(server.calls) == 5:
            await may_answer.wait()
        await call.write(infer_answer("bot"))

    async with serving(fleet, answer) as (router, server), connected(router.port) as (reader, writer):
        await learn((reader, writer), request())
        writer.write(request())
        await _until(lambda: len(server.calls) == 5)
        router.parts.server.stop()
        may_answer.set()
        [view] = await views_of(reader, ["POST"])
        assert (view.status, view.is_kept) == (200, False)


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=60), st.integers(1, 8))
def test_what_is_remembered_is_bounded_and_was_seen_twice(keys: list[bytes], bound: int) -> None:
    """A key is due the second time at the earliest; never more are kept than the bound."""
    store: Remembered[bytes] = Remembered(bound)
    seen: list[bytes] = []
    for key in keys:
        if store.is_due(key):
            assert key in seen
            store.keep(key, key)
        seen.append(key)
        assert len(store.found) <= bound
        assert all(kept == value for kept, value in store.found.items())


@pytest.mark.parametrize(
    ("lines", "kept", "ids"),
    [
        (b"host: x\r\n\r\n", b"host: x\r\n\r\n", 0),
        (b"host: x\r\nx-request-id: 1\r\n\r\n", b"host: x\r\n\r\n", 1),
        (b"X-Request-ID: 1\r\nhost: x\r\nTraceparent: 00-a\r\n\r\n", b"host: x\r\n\r\n", 2),
        (b"x-request-id:1\r\n\r\n", b"x-request-id:1\r\n\r\n", 0),
        (b"x-request-id: a b\r\n\r\n", b"x-request-id: a b\r\n\r\n", 0),
        (b"x-request-id: a\x01\r\n\r\n", b"x-request-id: a\x01\r\n\r\n", 0),
        (b"my-x-request-id: 1\r\n\r\n", b"my-x-request-id: 1\r\n\r\n", 0),
        (b"x-request-id: " + b"a" * 129 + b"\r\n\r\n", b"x-request-id: " + b"a" * 129 + b"\r\n\r\n", 0),
    ],
)
def test_only_plain_ids_are_split_off(lines: bytes, kept: bytes, ids: int) -> None:
    """What looks like an id and is anything else stays in the head, and so with the parser."""
    found, values = split_ids(lines)
    assert (found, len(values)) == (kept, ids)


async def test_answers_that_tell_their_own_time_are_known_too(fleet: Fleet) -> None:
    """What differs from answer to answer is passed on as it is; who may have been cold goes the long way."""

    async def answer(call: Call) -> None:
        start = "up;dur=90000, " if call.nth == 9 else ""
        await call.write(plain(x_botshard_epoch="1", server_timing=f"{start}queue;dur=0.{call.nth}, batch;desc=1"))

    async with serving(fleet, answer) as (router, server), connected(router.port) as client:
        views = [await ask(client, request()) for _ in range(12)]
        shortcut = router.parts.server.shortcut
        assert isinstance(shortcut, ShortWay)
        assert len(shortcut.answers) == 1
    assert len(server.calls) == 12
    for nth, view in enumerate(views, 1):
        start = "up;dur=90000, " if nth == 9 else ""
        assert view.headers["server-timing"] == f"{start}queue;dur=0.{nth}, batch;desc=1"
        assert list(view.headers).count("server-timing") == 1


async def test_answers_of_another_second_are_known(fleet: Fleet) -> None:
    """A pool's `Date` goes nowhere, so that it makes no difference; the client gets the router's own."""

    async def answer(call: Call) -> None:
        await call.write(plain(x_botshard_epoch="1", Date=f"Tue, 24 Nov 2026 18:00:{call.nth:02d} GMT"))

    async with serving(fleet, answer) as (router, _), connected(router.port) as client:
        views = [await ask(client, request()) for _ in range(12)]
        shortcut = router.parts.server.shortcut
        assert isinstance(shortcut, ShortWay)
        assert (len(shortcut.answers), len(shortcut.answers.as_sent)) == (1, 8)
    assert not any("2026 18:00:" in view.headers["date"] for view in views)


@pytest.mark.parametrize(
    "lines",
    [
        b"HTTP/1.1 200 OK\r\nServer-Timing: a\r\n",
        b"HTTP/1.1 200 OK\r\nserver-timing: a\r\n b\r\n",
        b"HTTP/1.1 200 OK\r\nserver-timing: a\x00b\r\n",
        b"HTTP/1.1 200 OK\r\nx: server-timing: a\r\n",
    ],
    ids=["another's", "folded", "control", "within a value"],
)
def test_only_a_plain_line_is_split_off(lines: bytes) -> None:
    """Anything else is part of what has to be known."""
    assert split_timing(lines) == (lines, b"")
