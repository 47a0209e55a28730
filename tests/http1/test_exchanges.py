"""Requests and answers as every client means them: hot ones and those of the application alike."""

from __future__ import annotations

import asyncio

import pytest

from tests.http1.serving import get, post, serving

BOTH = pytest.mark.parametrize("root", ["/hot/a", "/a"], ids=["hot", "application"])


@BOTH
async def test_a_body_comes_back_on_a_kept_connection(root: str) -> None:
    """Twice, with its length declared and in chunks."""
    async with serving() as served:
        client = await served.connect()
        for request in (post(root, b"hello"), post(root, b"hello" * 100, chunks=7), get(root)):
            await client.send(request)
            answer = await client.answer()
            assert (answer.status, answer.headers["x-target"]) == (200, root)
            assert "date" in answer.headers
            assert answer.body in {b"hello", b"hello" * 100, b""}
        assert len(served.server.connections) == 1


@BOTH
async def test_pipelined_requests_are_answered_in_order(root: str) -> None:
    """Thirty in one segment, every other one for somebody else."""
    targets = [f"{root}/{index}" if index % 2 else f"/other/{index}" for index in range(30)]
    async with serving() as served:
        client = await served.connect()
        await client.send(b"".join(post(target, target.encode()) for target in targets))
        answers = [await client.answer() for _ in targets]
    assert [answer.headers["x-target"] for answer in answers] == targets
    assert [answer.body.decode() for answer in answers] == targets


@BOTH
async def test_a_slow_answer_holds_back_those_behind_it(root: str) -> None:
    """Order is that of the requests, however long the first takes."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/hot/slow") + get(root))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        served.events.release.set()
        assert (await client.answer()).headers["x-target"] == "/hot/slow"
        assert (await client.answer()).headers["x-target"] == root


@BOTH
async def test_a_request_in_single_bytes_is_the_same_request(root: str) -> None:
    """Head and chunks are put together from any pieces."""
    async with serving() as served:
        client = await served.connect()
        for byte in post(root, b"hello", chunks=2):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"hello"


@BOTH
async def test_head_is_answered_without_a_body(root: str) -> None:
    """The length is that of the body that is not sent, and the connection is kept."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get(root, method="HEAD") + get(root))
        assert (await client.answer(to="HEAD")).headers["content-length"] == "0"
        assert (await client.answer()).status == 200


@BOTH
async def test_http_1_0_closes_unless_it_asks_to_be_kept(root: str) -> None:
    """And is told so."""
    async with serving() as served:
        kept = await served.connect()
        await kept.send(get(root, "connection: keep-alive", version="1.0"))
        assert (await kept.answer()).headers["connection"] == "keep-alive"
        await kept.send(get(root, version="1.0"))
        assert (await kept.answer()).headers["connection"] == "close"
        assert await kept.rest() == b""


@BOTH
async def test_connection_close_is_the_last_request(root: str) -> None:
    """What follows it is not read."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get(root, "connection: close") + get("/hot/never"))
        answer = await client.answer()
        assert (answer.headers["x-target"], answer.headers["connection"]) == (root, "close")
        assert await client.rest() == b""


@BOTH
async def test_a_client_that_expects_100_continue_gets_it_first(root: str) -> None:
    """Before it sends its body, and once."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get(root, "content-length: 5", "expect: 100-continue", method="POST"))
        assert (await client.answer()).status == 100
        await client.send(b"hello")
        assert (await client.answer()).body == b"hello"


async def test_no_100_continue_for_an_answer_that_needs_no_body() -> None:
    """The connection ends then: nobody knows whether the body follows."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/early", "content-length: 5", "expect: 100-continue", method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"early", "close")
        assert await client.rest() == b""


async def test_an_early_answer_leaves_the_connection_for_the_next() -> None:
    """The rest of a small body is read and forgotten."""
    async with serving() as served:
        client = await served.connect()
        request = post("/early", b"x" * 100)
        await client.send(request[:-50])
        assert (await client.answer()).body == b"early"
        await client.send(request[-50:] + get("/hot/next"))
        assert (await client.answer()).headers["x-target"] == "/hot/next"


async def test_a_large_body_behind_an_early_answer_ends_the_connection() -> None:
    """The client sees the answer although it is still sending."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/early", "content-length: 8000000", method="POST"))
        assert (await client.answer()).body == b"early"
        client.writer.write(b"x" * 600_000)
        assert await client.rest() == b""


async def test_an_application_streams_its_answer() -> None:
    """In chunks to HTTP/1.1, until the end of the connection to HTTP/1.0."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/stream"))
        answer = await client.answer()
        assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"one two three")
        await client.send(get("/stream", version="1.0"))
        assert (await client.answer()).body == b"one two three"
        assert await client.rest() == b""


async def test_the_application_sees_path_query_and_headers() -> None:
    """Percent signs are resolved in the path, an absolute target is its path."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/a%20b?c=d") + get("http://elsewhere/e?f"))
        assert (await client.answer()).headers["x-target"] == "/a b"
        assert (await client.answer()).headers["x-target"] == "/e"


@pytest.mark.parametrize(("target", "status"), [("/defect", 500), ("/hot/defect", 500)])
async def test_a_defect_is_answered(target: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """With 500 in the protocol's form; the connection is kept."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get(target) + get("/hot/next"))
        answer = await client.answer()
        assert (answer.status, b'"error"' in answer.body) == (status, True)
        assert (await client.answer()).status == 200


async def test_an_answer_that_breaks_off_is_not_completed(caplog: pytest.LogCaptureFixture) -> None:
    """The client must see that it is not whole."""
    async with serving() as served:
        client = await served.connect()
        await client.send(get("/half"))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.answer()
    assert "without a whole answer" in caplog.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_upgrade_that_is_not_offered_is_a_plain_request(method: str) -> None:
    """Also with a body, as clients send that ask for HTTP/2."""
    headers = ("upgrade: h2c", "connection: Upgrade, HTTP2-Settings", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA")
    async with serving() as served:
        client = await served.connect()
        body = b"hello" if method == "POST" else b""
        await client.send(get("/hot/a", f"content-length: {len(body)}", *headers, method=method) + body)
        assert (await client.answer()).body == body
        await client.send(get("/hot/b"))
        assert (await client.answer()).headers["x-target"] == "/hot/b"
