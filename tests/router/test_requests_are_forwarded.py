"""What goes through the router, both ways, and what does not."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from router.limits import Limits
from tests.oip.schema import assert_valid
from tests.router.fleet import Fleet, pool
from tests.router.running import running_router
from tests.router.upstreams import Call, Upstream, infer_answer, plain, upstream
from tests.waiting import aeventually


async def _echo(call: Call) -> None:
    """Answers with what was asked."""
    body = json.dumps({"method": call.method, "path": call.path, "headers": call.headers, "bytes": len(call.body)})
    await call.write(plain(body.encode(), x_botshard_epoch="1"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/v2/models/a.b_c-1/infer", id="infer"),
        pytest.param("POST", "/v2/models/a.b_c-1/versions/1/infer", id="infer of a version"),
        pytest.param("GET", "/v2/models/a.b_c-1", id="metadata"),
        pytest.param("GET", "/v2/models/a.b_c-1/versions/1", id="metadata of a version"),
        pytest.param("GET", "/v2/models/a.b_c-1/ready", id="ready"),
        pytest.param("GET", "/v2/models/a.b_c-1/versions/1/ready", id="ready of a version"),
        pytest.param("POST", "/v1/models/a.b_c-1:predict", id="V1 predict"),
        pytest.param("GET", "/v1/models/a.b_c-1", id="V1 ready"),
    ],
)
async def test_every_path_of_a_bot_reaches_its_pool(fleet: Fleet, method: str, path: str) -> None:
    """Method and path arrive unchanged, with the query."""
    fleet.publish_bots("a.b_c-1")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.client.request(method, path + "?x=1&y=%20")
    assert answer.status_code == 200, answer.text
    assert (method, path + "?x=1&y=%20") == (answer.json()["method"], answer.json()["path"])


async def test_a_quoted_name_goes_on_in_its_plain_form(fleet: Fleet) -> None:
    """What was routed by is what the pool reads."""
    fleet.publish_bots("a.b")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.client.post("/v2/models/%61%2Eb/infer", content=b"{}")
            slash = await router.client.post("/v2/models/a.b%2Finfer", content=b"{}")
    assert answer.json()["path"] == "/v2/models/a.b/infer"
    assert slash.json()["path"] == "/v2/models/a.b/infer"


async def test_headers_of_one_connection_stay_on_it(fleet: Fleet) -> None:
    """Hop-by-hop headers and those that Connection names are dropped; others and the router's own arrive."""
    fleet.publish_bots("bot")
    async with upstream(_echo) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.infer(
                "bot",
                connection="x-secret-hop, keep-alive",
                x_secret_hop="1",
                te="trailers",
                proxy_authorization="Basic eDp5",
                x_mine="2",
                x_request_timeout="3.5",
                x_request_id="mine-1",
                forwarded="for=10.0.0.9",
                inference_header_content_length="13",
                content_type="application/octet-stream",
            )
            port = router.port
    seen = answer.json()["headers"]
    for dropped in ("x-secret-hop", "te", "proxy-authorization", "connection"):
        assert dropped not in seen
    assert seen["x-mine"] == "2"
    assert seen["inference-header-content-length"] == "13"
    assert seen["content-type"] == "application/octet-stream"
    assert "mine-1" == seen["x-request-id"] == answer.headers["x-request-id"]
    assert seen["x-botshard-epoch"] == "1"
    assert 3.0 < float(seen["x-request-timeout"]) <= 3.5
    assert f'for=10.0.0.9, for=127.0.0.1;host="127.0.0.1:{port}";proto=http' == seen["forwarded"]
    assert pool() == answer.headers["x-botshard-pool"]


async def test_the_pools_headers_come_back_but_for_its_hop(fleet: Fleet) -> None:
    """Headers of the answer arrive, one date and no transfer headers of the pool among them."""
    raw = plain(
        b"{}",
        x_botshard_epoch="1",
        x_botshard_pool="its-own",
        x_botshard_bot_version="7",
        date="Tue, 01 Jan 2030 00:00:00 GMT",
        server="pool",
        connection="keep-alive, x-hop",
        x_hop="1",
        keep_alive="timeout=5",
        inference_header_content_length="2",
    )
    fleet.publish_bots("bot")
    async with upstream(raw) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.infer("bot")
    assert answer.headers.get_list("x-botshard-pool") == ["its-own"]
    assert answer.headers["x-botshard-bot-version"] == "7"
    assert answer.headers["inference-header-content-length"] == "2"
    assert len(answer.headers.get_list("date")) == 1
    for dropped in ("x-hop", "keep-alive", "server"):
        assert dropped not in answer.headers


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, 65_537, 3_000_000], ids=str)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_of_any_size_arrive_whole(fleet: Fleet, size_bytes: int, *, chunked: bool) -> None:
    """Bytes are the same at the pool and back at the client, whatever frames them."""
    body = bytes(index % 251 for index in range(997)) * (size_bytes // 997 + 1)
    body = body[:size_bytes]

    async def mirror(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-botshard-epoch: 1\r\n\r\n")
        for start in range(0, len(call.body), 100_000):
            piece = call.body[start : start + 100_000]
            await call.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await call.write(b"0\r\n\r\n")

    async def pieces() -> object:  # an async generator makes the client send chunks
        for start in range(0, len(body), 70_001):
            yield body[start : start + 70_001]

    fleet.publish_bots("bot")
    async with upstream(mirror) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            content = pieces() if chunked else body
            answer = await router.client.post("/v2/models/bot/infer", content=content)  # type: ignore[arg-type]
            held = router.parts.account.held_bytes
    assert answer.content == body
    is_streamed = chunked and size_bytes == 3_000_000
    assert server.calls[0].headers.get("content-length") == (None if is_streamed else str(size_bytes))
    assert held == 0


async def test_a_compressed_body_is_not_touched(fleet: Fleet) -> None:
    """Content-Encoding goes along with bytes that nobody unpacked."""
    packed = gzip.compress(b'{"inputs":[]}')

    async def mirror(call: Call) -> None:
        await call.write(plain(call.body, content_encoding=call.headers["content-encoding"], x_botshard_epoch="1"))

    fleet.publish_bots("bot")
    async with upstream(mirror) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            answer = await router.infer("bot", packed, content_encoding="gzip")
    assert server.calls[0].body == packed
    assert answer.content == b'{"inputs":[]}'


async def test_an_answer_streams_as_it_comes(fleet: Fleet) -> None:
    """The first piece is at the client before the second exists."""
    go_on = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nx-botshard-epoch: 1\r\n\r\nfirst")
        await go_on.wait()
        await call.write(b"+last")

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router, router.client.stream("POST", "/v2/models/bot/infer") as response:
            pieces = response.aiter_raw()
            first = await anext(pieces)
            go_on.set()
            rest = b"".join([piece async for piece in pieces])
    assert (first, rest) == (b"first", b"+last")


async def test_a_slow_reader_does_not_fill_the_router(fleet: Fleet) -> None:
    """The pool is held back once the bound of buffered bytes is reached; the answer still arrives whole."""
    size_bytes = 64 * 1024 * 1024
    sent = 0

    async def answer(call: Call) -> None:
        nonlocal sent
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-botshard-epoch: 1\r\n\r\n" % size_bytes)
        piece = bytes(65_536)
        while sent < size_bytes:
            await call.write(piece)
            sent += len(piece)

    async def is_stuck() -> bool:
        before = sent
        await asyncio.sleep(0.2)
        return 0 < before == sent

    fleet.publish_bots("bot")
    async with upstream(answer) as server:
        fleet.publish_table(server.url, request_timeout_s=60.0)
        async with running_router(fleet) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=1024)
            writer.write(b"POST /v2/models/bot/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            assert await aeventually(is_stuck)
            stuck_at = sent
            body = 0
            await reader.readuntil(b"\r\n\r\n")
            while body < size_bytes:
                body += len(await reader.read(1 << 20))
            writer.close()
    assert body == size_bytes
    assert stuck_at < 24 * 1024 * 1024, "sockets on both sides hold some MiB, the router a quarter of one"


async def test_head_asks_for_the_head_alone(fleet: Fleet) -> None:
    """HEAD comes back with the length and no body, and the connection still serves."""
    fleet.publish_bots("bot")

    async def answer(call: Call) -> None:
        full = plain(b'{"name":"bot"}', x_botshard_epoch="1")
        await call.write(full.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if call.method == "HEAD" else full)

    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet) as router:
            head = await router.client.head("/v2/models/bot")
            full = await router.client.get("/v2/models/bot")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "14", b"")
    assert full.content == b'{"name":"bot"}'


async def test_a_hundred_requests_at_once_are_all_answered(fleet: Fleet) -> None:
    """Each client gets its own answer, over no more connections than allowed."""
    fleet.publish_bots(*(f"bot-{number}" for number in range(100)))

    async def answer(call: Call) -> None:
        await asyncio.sleep(0.02)
        await call.write(infer_answer(call.path.split("/")[3]))

    async with upstream(answer) as server:
        fleet.publish_table(server.url)
        async with running_router(fleet, limits=Limits(max_connections_per_pool=8)) as router:
            answers = await asyncio.gather(*(router.infer(f"bot-{number}") for number in range(100)))
            outstanding = [state.outstanding for state in router.parts.pools]
    for number, response in enumerate(answers):
        assert response.status_code == 200
        assert_valid(response.json(), "inference_response")
        assert response.json()["model_name"] == f"bot-{number}"
    assert server.connections <= 8
    assert outstanding == [0]


async def test_realtime_requests_spread_over_the_pools_of_a_shard(fleet: Fleet) -> None:
    """The pool with fewer requests in flight is chosen."""
    fleet.publish_bots("bot")
    released = asyncio.Event()

    async def answer(call: Call) -> None:
        await released.wait()
        await call.write(infer_answer("bot"))

    async def all_there(*servers: Upstream) -> bool:
        return sum(len(server.calls) for server in servers) == 10

    async with upstream(answer) as one, upstream(answer) as two:
        fleet.publish_table(one.url, two.url)
        async with running_router(fleet) as router:
            asked = [asyncio.create_task(router.infer("bot")) for _ in range(10)]
            assert await aeventually(lambda: all_there(one, two))
            released.set()
            await asyncio.gather(*asked)
    assert (len(one.calls), len(two.calls)) == (5, 5)


async def test_other_requests_stay_at_the_first_pool(fleet: Fleet) -> None:
    """A group that may sleep keeps as few pools awake as possible."""
    from tests.router.fleet import SLEEPY

    fleet.publish_bots("bot", key=SLEEPY)
    async with upstream(infer_answer("bot")) as one, upstream(infer_answer("bot")) as two:
        fleet.publish_table(sleepy=[one.url, two.url])
        async with running_router(fleet) as router:
            await asyncio.gather(*(router.infer("bot") for _ in range(10)))
    assert (len(one.calls), len(two.calls)) == (10, 0)
