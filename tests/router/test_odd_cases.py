"""What HTTP/1.1 allows, what it forbids and what clients and pools do all the same, against a router that serves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from router.limits import Limits
from tests.router.fleet import Fleet
from tests.router.running import running_router
from tests.router.upstreams import Call, infer_answer, plain, upstream
from tests.router.views import View, connected, views_of
from tests.waiting import aeventually

SMUGGLED = b"POST /v2/models/smuggled/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"


def ask(*headers: str, target: str = "/v2/models/bot/infer", method: str = "POST", version: str = "1.1") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {target} HTTP/{version}", "host: x", *headers, "", ""]).encode()


def infer(body: bytes = b"{}", *headers: str, version: str = "1.1") -> bytes:
    """A request with a body of a declared length."""
    return ask(f"content-length: {len(body)}", *headers, version=version) + body


CHUNKED = ask("transfer-encoding: chunked")


@dataclass(frozen=True)
class Case:
    """What a client sends, and what has to come of it."""

    sent: bytes
    statuses: tuple[int, ...]
    bodies: tuple[bytes, ...] = ()
    """That reach the pool."""
    kept: bool = True
    methods: tuple[str, ...] = ()
    interim: tuple[int, ...] = ()


RIGHT = {
    "a body of a length": Case(infer(b"abc"), (200,), (b"abc",)),
    "no body": Case(infer(b""), (200,), (b"",)),
    "chunks": Case(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", (200,), (b"abcde",)),
    "chunk extensions and trailers": Case(CHUNKED + b"3;a=b\r\nabc\r\n0;c\r\nx-trailer: 1\r\n\r\n", (200,), (b"abc",)),
    "no chunks": Case(CHUNKED + b"0\r\n\r\n", (200,), (b"",)),
    "pipelined": Case(infer(b"1") + infer(b"2") + infer(b"3"), (200, 200, 200), (b"1", b"2", b"3")),
    "pipelined, bot and application": Case(infer(b"1") + LIVE + infer(b"2"), (200, 200, 200), (b"1", b"2")),
    "pipelined after a refusal": Case(
        ask("content-length: 3", target="/v2/models/none/infer") + b"abc" + infer(b"1"), (404, 200), (b"1",)
    ),
    "a wrong method with a body": Case(
        ask("content-length: 3", method="PUT") + b"abc" + infer(b"1"), (405, 200), (b"1",)
    ),
    "empty lines first": Case(b"\r\n\r\n" + infer(b"1"), (200,), (b"1",)),
    "an absolute target": Case(ask("content-length: 1", target="http://x/v2/models/bot/infer") + b"1", (200,), (b"1",)),
    "an upgrade that is not offered": Case(
        infer(b"1", "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"), (200,), (b"1",)
    ),
    "Expect with its body": Case(infer(b"1", "expect: 100-continue"), (200,), (b"1",)),
    "close": Case(infer(b"1", "connection: close"), (200,), (b"1",), kept=False),
    "bytes after close": Case(infer(b"1", "connection: close") + SMUGGLED, (200,), (b"1",), kept=False),
    "HTTP/1.0": Case(infer(b"1", version="1.0"), (200,), (b"1",), kept=False),
    "HTTP/1.0 without a Host": Case(
        b"POST /v2/models/bot/infer HTTP/1.0\r\ncontent-length: 1\r\n\r\n1", (200,), (b"1",), kept=False
    ),
    "HEAD": Case(ask(method="HEAD", target="/v2/models/bot"), (200,), (b"",), methods=("HEAD",)),
    "HEAD of the application": Case(ask(method="HEAD", target="/v2"), (200,), methods=("HEAD",)),
    "tabs and spaces around a value": Case(ask("content-length: \t 1 \t") + b"1", (200,), (b"1",)),
}


async def _answers(port: int, case: Case, *, split: bool) -> list[View]:
    async with connected(port) as (reader, writer):
        pieces = [case.sent[index : index + 1] for index in range(len(case.sent))] if split else [case.sent]
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        methods = case.methods or ("POST",) * len(case.statuses)
        views = await views_of(reader, methods)
        if case.kept:
            writer.write(LIVE)
            assert [view.status for view in await views_of(reader, ["GET"])] == [200]
        return views


@pytest.mark.parametrize("split", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in RIGHT.items()])
async def test_what_is_right_is_answered(fleet: Fleet, case: Case, *, split: bool) -> None:
    """Statuses in order, bodies at the pool, and the connection is kept exactly where both sides think so."""

    async def answer(call: Call) -> None:
        whole = infer_answer("bot")
        await call.write(whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if call.method == "HEAD" else whole)

    fleet.publish_bots("bot", "smuggled")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            views = await _answers(router.port, case, split=split)
    assert case.statuses == tuple(view.status for view in views)
    assert case.bodies == tuple(call.body for call in server.calls)
    assert case.kept == views[-1].is_kept
    assert all("transfer-encoding" not in call.headers for call in server.calls)


WRONG = {
    "two lengths": ask("content-length: 2", "content-length: 3") + b"{}",
    "the same length twice": ask("content-length: 2", "content-length: 2") + b"{}",
    "a list of lengths": ask("content-length: 2, 2") + b"{}",
    "a length with a sign": ask("content-length: +2") + b"{}",
    "a length in hexadecimal": ask("content-length: 0x2") + b"{}",
    "an empty length": ask("content-length:") + b"{}",
    "a length past all numbers": ask("content-length: 99999999999999999999999") + b"{}",
    "length and chunks": ask("content-length: 4", "transfer-encoding: chunked") + b"0\r\n\r\n",
    "chunks and length": ask("transfer-encoding: chunked", "content-length: 4") + b"0\r\n\r\n",
    "another coding": ask("transfer-encoding: gzip") + b"0\r\n\r\n",
    "another coding before chunks": ask("transfer-encoding: gzip, chunked") + b"0\r\n\r\n",
    "a coding after chunks": ask("transfer-encoding: chunked, identity") + b"0\r\n\r\n",
    "chunked twice": ask("transfer-encoding: chunked", "transfer-encoding: chunked") + b"0\r\n\r\n",
    "nearly chunked": ask("transfer-encoding: xchunked") + b"0\r\n\r\n",
    "chunked in quotes": ask('transfer-encoding: "chunked"') + b"0\r\n\r\n",
    "a space before the colon": ask("transfer-encoding : chunked") + b"0\r\n\r\n",
    "a folded header": ask("x: 1", " folded") + b"",
    "a folded coding": ask("transfer-encoding:", " chunked") + b"0\r\n\r\n",
    "bare line feeds": infer(b"{}").replace(b"\r\n", b"\n"),
    "a bare carriage return": ask("x: a\rb"),
    "a zero byte": ask("x: a\0b"),
    "a name with a space": ask("x y: 1"),
    "a header without a name": ask(": 1"),
    "a header without a colon": ask("nothing"),
    "chunks in HTTP/1.0": ask("transfer-encoding: chunked", version="1.0") + b"0\r\n\r\n",
    "a bad chunk size": CHUNKED + b"zz\r\n",
    "a chunk size with a sign": CHUNKED + b"-1\r\n",
    "a chunk size past all numbers": CHUNKED + b"fffffffffffffffff\r\n",
    "a chunk that is longer than it says": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends in a line feed": CHUNKED + b"1\r\na\n0\r\n\r\n",
    "a chunk size that ends in a line feed": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "no Host": b"POST /v2/models/bot/infer HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    "two Hosts": ask("host: y", "content-length: 0"),
    "a space in the target": ask(target="/v2/models/b ot/infer"),
    "a target without a slash": ask("content-length: 0", target="v2/models/bot/infer"),
    "HTTP/0.9": b"GET /v2/models/bot\r\n",
    "HTTP/1.2": ask("content-length: 0", version="1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "small letters": infer().replace(b"HTTP/", b"http/"),
    "an unknown method": ask(method="POKE"),
    "a tunnel": ask(method="CONNECT", target="x:443"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in WRONG.items()])
async def test_what_two_servers_could_read_differently_is_refused(fleet: Fleet, sent: bytes) -> None:
    """One refusal and the end of the connection: neither this nor what follows reaches a pool."""
    fleet.publish_bots("bot", "smuggled")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            async with connected(router.port) as (reader, writer):
                writer.write(sent + SMUGGLED)
                views = await views_of(reader, ["POST", "POST"])
            unserved = await router.metric("botshard_router_unserved_total")
    assert [view.is_kept for view in views] == [False]
    assert views[0].status in {400, 501, 505}
    assert views[0].body.startswith(b'{"error":')
    assert "x-request-id" in views[0].headers
    assert server.calls == []
    assert unserved == 1


TOO_MUCH = {
    "a length": (infer(b"x" * 1001), 413),
    "a length that is expected to continue": (ask("content-length: 1001", "expect: 100-continue"), 413),
    "chunks": (CHUNKED + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413),
    "one header": (ask("x: " + "a" * 70_000), 431),
    "many headers": (ask(*(f"x-{number}: {'a' * 100}" for number in range(700))), 431),
    "the target": (ask(target="/" + "a" * 70_000), 431),
}


@pytest.mark.parametrize(("sent", "status"), [pytest.param(*case, id=name) for name, case in TOO_MUCH.items()])
async def test_what_is_too_large_is_refused(fleet: Fleet, sent: bytes, status: int) -> None:
    """The answer arrives also where its reader sends on, no pool sees anything, and the connection ends."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        limits = Limits(max_body_bytes=1000)
        async with running_router(fleet, limits=limits) as router, connected(router.port) as (reader, writer):
            writer.write(sent + b"x" * 10_000)
            views = await views_of(reader, ["POST"])
    assert [(view.status, view.interim, view.is_kept) for view in views] == [(status, [], False)]
    assert server.calls == []


POOLS = {
    "a length": (plain(b"hello"), b"hello"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nx: 1\r\n\r\n",
        b"hello, world",
    ),
    "the end of its connection": (b"HTTP/1.1 200 OK\r\n\r\nall of it", b"all of it"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
    "interim answers first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + plain(b"late"),
        b"late",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
    "an empty body": (plain(b""), b""),
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("sent", "body"), [pytest.param(*case, id=name) for name, case in POOLS.items()])
async def test_however_a_pool_frames_its_answer_the_client_reads_it(
    fleet: Fleet, sent: bytes, body: bytes, version: str, *, split: bool
) -> None:
    """One head, one framing that the client's version knows, the same body."""

    async def answer(call: Call) -> None:
        for piece in [sent[index : index + 1] for index in range(len(sent))] if split else [sent]:
            await call.write(piece)
            await asyncio.sleep(0)
        if b"length" not in sent and b"chunked" not in sent:
            call.close()

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router, connected(router.port) as (reader, writer):
            writer.write(infer(version=version))
            views = await views_of(reader, ["POST"])
    assert [(view.body, view.interim) for view in views] == [(body, [])]
    assert views[0].status == int(sent.split(b" ")[1]) or views[0].status == 200
    assert views[0].is_kept == (version == "1.1")
    assert "x" not in views[0].headers
    assert version == "1.1" or "transfer-encoding" not in views[0].headers


async def test_a_client_that_expects_to_continue_is_told_once_it_may_send(fleet: Fleet) -> None:
    """100 before the body, and no 100 for a bot that is refused."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router, connected(router.port) as (reader, writer):
            writer.write(ask("content-length: 2", "expect: 100-continue"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"{}")
            assert [view.status for view in await views_of(reader, ["POST"])] == [200]
            writer.write(ask("content-length: 2", "expect: 100-continue", method="DELETE"))
            views = await views_of(reader, ["DELETE"])
    assert [(view.status, view.interim, view.is_kept) for view in views] == [(405, [], False)]
    assert [call.headers.get("expect") for call in server.calls] == [None]


async def test_a_half_closed_client_gets_its_answers(fleet: Fleet) -> None:
    """All that it asked for before it closed its side."""
    fleet.publish_bots("bot")
    async with upstream(infer_answer("bot")) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router, connected(router.port) as (reader, writer):
            writer.write(infer(b"1") + infer(b"2"))
            writer.write_eof()
            views = await views_of(reader, ["POST", "POST"])
    assert [(view.status, view.is_kept) for view in views] == [(200, True), (200, False)]
    assert [call.body for call in server.calls] == [b"1", b"2"]


async def test_a_pool_may_answer_before_it_has_read_the_request(fleet: Fleet) -> None:
    """Its answer goes to the client, and its connection, on which a body is stuck, to nobody."""
    body = b"x" * 8_000_000
    answered = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"POST" in head
        answered += 1
        writer.write(plain(b'{"error":"too large for me"}', 413, x_botshard_epoch="1"))
        await writer.drain()
        await ended.wait()
        writer.transport.abort()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fleet.publish_bots("bot")
    fleet.publish_table(f"http://127.0.0.1:{port}")
    async with running_router(fleet) as router:
        responses = [await router.infer("bot", body) for _ in range(2)]
        ended.set()

        async def nothing_held() -> bool:
            return router.parts.account.held_bytes == 0

        await aeventually(nothing_held)
    server.close()
    assert [(response.status_code, response.json()["error"]) for response in responses] == [
        (413, "too large for me")
    ] * 2
    assert answered == 2


async def test_headers_that_are_none_of_ours_go_through(fleet: Fleet) -> None:
    """W3C trace context, cookies and what is named twice: unchanged, both ways."""

    async def answer(call: Call) -> None:
        assert call.headers["traceparent"] == trace
        await call.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-botshard-epoch: 1\r\ntraceresponse: %b\r\n\r\n{}"
            % trace.encode()
        )

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            response = await router.infer("bot", traceparent=trace, tracestate="a=1,b=2", x_b3="x", baggage="k=v")
    seen = server.calls[0].headers
    assert (seen["tracestate"], seen["baggage"], seen["x-b3"]) == ("a=1,b=2", "k=v", "x")
    assert response.headers["traceresponse"] == trace
