"""The gRPC server with gRPC's own client: calls, streams, cancellations, deadlines, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import inf
from time import monotonic

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from botshard.rpc.calls import StreamCall, UnaryCall
from botshard.rpc.codes import Code
from botshard.rpc.server import RpcServer
from tests.waiting import aeventually

LIMIT = 64 << 10


class Served:
    """A server with an echo, a method that holds its calls, one that raises, and streams; and a channel to it."""

    def __init__(self) -> None:
        self.held: list[UnaryCall] = []
        self.gone: list[UnaryCall] = []
        self.streams_ended = 0
        self.server = RpcServer(
            unary={"/t.T/Echo": self._echo, "/t.T/Hold": self._hold, "/t.T/Raise": self._raise},
            streams={"/t.T/Twice": self._twice, "/t.T/Open": self._open},
            max_message_bytes=LIMIT,
        )
        port = self.server.listen("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.address)

    @staticmethod
    def _echo(call: UnaryCall) -> None:
        call.answer(call.message, (("x-seen", dict(call.metadata).get("x-sent", "")),))

    def _hold(self, call: UnaryCall) -> None:
        call.on_gone = lambda: self.gone.append(call)
        self.held.append(call)

    @staticmethod
    def _raise(call: UnaryCall) -> None:
        raise RuntimeError(f"a secret {len(call.message)}")

    @staticmethod
    async def _twice(call: StreamCall) -> None:
        while (message := await call.read()) is not None:
            await call.write(message)
            await call.write(message)

    async def _open(self, call: StreamCall) -> None:
        try:
            await call.write(b"open")
            await asyncio.get_running_loop().create_future()
        finally:
            self.streams_ended += 1

    def ask(self, method: str, message: bytes = b"m", **more: object) -> grpc.aio.UnaryUnaryCall:
        """A call."""
        return self.channel.unary_unary(f"/t.T/{method}")(message, **more)


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """A server, stopped in the end."""
    served = Served()
    yield served
    await served.channel.close()
    await served.server.stop(0.0)


async def _code(call: grpc.aio.UnaryUnaryCall) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code().name, failed.value.details() or ""


async def test_many_calls_each_have_their_own_answer(served: Served) -> None:
    """Five hundred at once on one connection, with metadata both ways."""
    calls = [served.ask("Echo", str(number).encode(), metadata=(("x-sent", str(number)),)) for number in range(500)]
    assert await asyncio.gather(*calls) == [str(number).encode() for number in range(500)]
    assert [dict(await call.trailing_metadata())["x-seen"] for call in calls] == [str(n) for n in range(500)]


async def test_an_empty_message_is_a_message(served: Served) -> None:
    """Many requests of the protocol have no field."""
    assert await served.ask("Echo", b"") == b""


async def test_what_is_not_there_is_unimplemented(served: Served) -> None:
    """With the method's name."""
    assert await _code(served.ask("Nothing")) == ("UNIMPLEMENTED", "method /t.T/Nothing does not exist")


async def test_a_defect_is_told_without_its_insides(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL; the log has the reason, and the next call is answered."""
    code, text = await _code(served.ask("Raise"))
    assert (code, "secret" in text) == ("INTERNAL", False)
    assert "a secret" in caplog.text
    assert await served.ask("Echo") == b"m"


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip], ids=["as is", "gzip"])
async def test_a_message_over_the_limit_is_refused(served: Served, compression: grpc.Compression) -> None:
    """As sent and once inflated: zeros are no way around the limit."""
    code, _ = await _code(served.ask("Echo", bytes(LIMIT * 4), compression=compression))
    assert code == "RESOURCE_EXHAUSTED"
    assert await served.ask("Echo", bytes(LIMIT // 2), compression=compression) == bytes(LIMIT // 2)


async def test_a_cancelled_call_is_told_to_its_handler(served: Served) -> None:
    """Once, on the loop; an answer that comes later goes nowhere."""
    call = served.ask("Hold")
    await aeventually(lambda: _now(len(served.held) == 1))
    call.cancel()
    await aeventually(lambda: _now(len(served.gone) == 1))
    held = served.held[0]
    assert held.is_over
    held.answer(b"late")
    held.fail(Code.INTERNAL, "late")
    assert len(served.gone) == 1


async def test_a_deadline_travels_with_the_call(served: Served) -> None:
    """The handler knows when nobody waits any more, and is told when it is over."""
    started_s = monotonic()
    assert (await _code(served.ask("Hold", timeout=0.4)))[0] == "DEADLINE_EXCEEDED"
    await aeventually(lambda: _now(len(served.gone) == 1))
    assert started_s < served.held[0].deadline_s < started_s + 0.5
    call = served.ask("Hold")
    await aeventually(lambda: _now(len(served.held) == 2))
    assert served.held[1].deadline_s == inf
    call.cancel()


async def test_a_status_has_a_code_a_text_and_metadata(served: Served) -> None:
    """Also a text that is not ASCII, and one that would be too long for a header."""
    for text in ("nicht jetzt: müde", "x" * 20_000):
        call = served.ask("Hold")
        await aeventually(lambda: _now(served.held))
        served.held.pop().fail(Code.UNAVAILABLE, text, (("retry-after", "3"),))
        assert await _code(call) == ("UNAVAILABLE", text[:1000])
        assert dict(await call.trailing_metadata())["retry-after"] == "3"


async def test_streams_go_both_ways(served: Served) -> None:
    """Each message as it comes, until the client has no more."""
    call = served.channel.stream_stream("/t.T/Twice")()
    for message in (b"one", b"two"):
        await call.write(message)
        assert [await call.read(), await call.read()] == [message, message]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert (await call.code()).name == "OK"


async def test_a_stream_ends_with_its_client(served: Served) -> None:
    """Whoever goes takes the stream's task along."""
    call = served.channel.stream_stream("/t.T/Open")()
    assert await call.read() == b"open"
    call.cancel()
    await aeventually(lambda: _now(served.streams_ended == 1))


async def test_the_end_answers_what_is_in_flight() -> None:
    """New calls are refused, streams end, and calls in flight get their answers."""
    served = Served()
    calls = [served.ask("Hold") for _ in range(3)]
    stream = served.channel.stream_stream("/t.T/Open")()
    assert await stream.read() == b"open"
    await aeventually(lambda: _now(len(served.held) == 3))
    stopping = asyncio.create_task(served.server.stop(10.0))
    await aeventually(lambda: _now(served.streams_ended == 1))
    assert (await stream.code()).name == "UNAVAILABLE"
    async with grpc.aio.insecure_channel(served.address) as other:
        assert (await _code(other.unary_unary("/t.T/Echo")(b"late")))[0] == "UNAVAILABLE"
    assert not stopping.done()
    for call in served.held:
        call.answer(b"after all")
    assert await asyncio.gather(*calls) == [b"after all"] * 3
    assert await stopping
    await served.channel.close()


async def test_the_end_does_not_wait_for_ever() -> None:
    """What is not answered within the grace is cut off."""
    served = Served()
    call = served.ask("Hold")
    await aeventually(lambda: _now(len(served.held) == 1))
    assert not await served.server.stop(0.1)
    assert (await _code(call))[0] in ("CANCELLED", "UNAVAILABLE", "UNKNOWN")
    await served.channel.close()


async def test_a_port_that_is_taken_is_an_error(served: Served) -> None:
    """Two servers do not share a port unknowingly."""
    other = RpcServer(unary={}, streams={}, max_message_bytes=LIMIT)
    with pytest.raises(OSError, match="cannot be bound"):
        other.listen(served.address)
    await other.stop(0.0)


async def _now(value: object) -> object:
    return value
