"""A gRPC server on the C core: one thread takes what has happened off the completion queue, the loop does the rest.

Everything here is what `grpc.server` itself is made of (`grpc._cython.cygrpc`), without its thread for each call.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from grpc._cython import cygrpc

from botshard.rpc.calls import StreamCall, UnaryCall
from botshard.rpc.codes import Code

__all__ = ["HandleStream", "HandleUnary", "RpcServer"]

log = logging.getLogger(__name__)

HandleUnary: TypeAlias = Callable[[UnaryCall], None]
"""Called on the loop with the whole message; answers or fails the call, now or later."""
HandleStream: TypeAlias = Callable[[StreamCall], Awaitable[None]]
"""Runs as a task; when it returns, the stream ends well."""

_AT_ONCE: Final = 128
"""Calls taken up in one turn of the loop, so that other things come between."""
_NO_WAIT: Final = 0.0
"""A deadline that is over: what is there, or nothing."""
_OPTIONS: Final = (
    (b"grpc.max_send_message_length", -1),
    # Peers that are gone without a word are found out; those that look after us may do so more than every 5 minutes.
    (b"grpc.keepalive_time_ms", 60_000),
    (b"grpc.keepalive_timeout_ms", 20_000),
    (b"grpc.keepalive_permit_without_calls", 1),
    (b"grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class RpcServer:
    """Answers calls until it is stopped. Lives on the event loop that `listen` is called on."""

    def __init__(
        self,
        *,
        unary: Mapping[str, HandleUnary],
        streams: Mapping[str, HandleStream],
        max_message_bytes: int,
        share_port: bool = False,
    ) -> None:
        """Methods are named in full: `/package.Service/Method`.

        `share_port`: other processes may listen on the port too; else one that is taken is an error.
        """
        self._unary = {name.encode(): handle for name, handle in unary.items()}
        self._streams = {name.encode(): handle for name, handle in streams.items()}
        options = (
            *_OPTIONS,
            (b"grpc.max_receive_message_length", max_message_bytes),
            (b"grpc.so_reuseport", int(share_port)),
        )
        self._queue = cygrpc.CompletionQueue()
        self._core = cygrpc.Server(options, False)
        self._core.register_completion_queue(self._queue)
        self._lock = threading.Lock()
        self._is_stopping = False
        self._is_aborted = False
        self._happened: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._is_woken = False
        self._begun: list[UnaryCall] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None

    def listen(self, address: str, credentials: Any = None, /) -> int:
        """Bind, begin to answer; the port. `credentials`: gRPC's of a server, for TLS. Raises: OSError."""
        self._loop = asyncio.get_running_loop()
        self._stopped = self._loop.create_future()
        port: int = self._core.add_http2_port(
            address.encode(),
            *(() if credentials is None else (credentials._credentials,)),  # noqa: SLF001 - as gRPC does
        )
        if port == 0:
            raise OSError(f"{address} cannot be bound")
        self._core.start()
        self._core.request_call(self._queue, self._queue, self._accepted)
        self._thread = threading.Thread(target=self._take, name="grpc", daemon=True)
        self._thread.start()
        return port

    def abort(self) -> None:
        """End all calls at once, those that `stop` waits for or will wait for."""
        self._is_aborted = True
        if self._is_stopping and not self._stopped.done():
            self._core.cancel_all_calls()

    async def stop(self, grace_s: float, /, *, on_cut: Callable[[], None] = lambda: None) -> bool:
        """Take no new call, end streams, answer the rest; whether all were answered within `grace_s`.

        `on_cut` is called before what is left is cut off: the last moment to answer it.
        """
        if self._thread is None:
            return True
        with self._lock:
            self._is_stopping = True
            self._core.shutdown(self._queue, self._drained)
        for task in self._tasks:
            task.cancel()
        answered = True
        try:
            async with asyncio.timeout(0.0 if self._is_aborted else grace_s):
                await asyncio.shield(self._stopped)
        except TimeoutError:
            answered = False
            on_cut()
            self._core.cancel_all_calls()
            await self._stopped
        self._core.destroy()
        self._queue.shutdown()
        await self._loop.run_in_executor(None, self._thread.join)
        return answered

    # ── on the queue's thread ─────────────────────────────────────────────────────────────────────────────────────────

    def _take(self) -> None:
        """Wait for something to happen, take all that has happened, wake the loop once."""
        kinds = cygrpc.CompletionType
        waiting_s: float | None = None
        taken = 0
        while True:
            event = self._queue.poll(waiting_s)
            kind = event.completion_type
            if kind == kinds.queue_shutdown:
                return
            if kind != kinds.queue_timeout:
                try:
                    event.tag(event)
                except Exception:
                    log.exception("a gRPC event was lost by a defect")
            # While it is referred to it holds its call, which must be gone before the core waits again.
            event = None
            if kind != kinds.queue_timeout and taken < _AT_ONCE:
                taken += 1
                waiting_s = _NO_WAIT
                continue
            taken = 0
            waiting_s = None
            if self._happened and not self._is_woken:
                self._is_woken = True
                self._loop.call_soon_threadsafe(self._run)

    def _accepted(self, event: Any) -> None:
        if not event.success:
            return  # the server is shut down: this call was never made
        with self._lock:
            if not self._is_stopping:
                self._core.request_call(self._queue, self._queue, self._accepted)
        method = event.call_details.method
        handle = self._unary.get(method)
        if handle is not None:
            UnaryCall(event.call, self._post, event.invocation_metadata, event.call_details.deadline, handle)
        else:
            self._post(self._begin, event)

    def _drained(self, _: Any) -> None:
        self._post(self._stopped.set_result, None)

    def _post(self, call: Callable[[Any], None], argument: Any) -> None:
        """Call on the loop, together with all else that has happened: woken for each, it would run them one by one."""
        self._happened.append((call, argument))

    # ── on the loop ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        self._is_woken = False
        happened = self._happened
        for _ in range(min(len(happened), _AT_ONCE)):
            call, argument = happened.popleft()
            try:
                call(argument)
            except Exception:
                log.exception("a gRPC call failed by a defect")
            if type(argument) is UnaryCall:
                self._begun.append(argument)
        if self._begun:
            self._loop.call_soon(self._watch)
        if happened and not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._run)

    def _watch(self) -> None:
        """What was not answered in the turn of the loop that it came in."""
        begun, self._begun = self._begun, []
        for call in begun:
            call.watch()

    def _begin(self, event: Any) -> None:
        """A stream, or a call of a method that does not exist."""
        method = event.call_details.method
        handle = self._streams.get(method)
        call = StreamCall(event.call, self._post, event.invocation_metadata, event.call_details.deadline)
        if handle is None:
            call.fail(Code.UNIMPLEMENTED, f"method {method.decode(errors='replace')[:200]} does not exist")
            return
        task = self._loop.create_task(_stream(handle, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        call.on_gone = task.cancel


async def _stream(handle: HandleStream, call: StreamCall) -> None:
    try:
        await handle(call)
        call.end()
    except asyncio.CancelledError:
        call.fail(Code.UNAVAILABLE, "the server is ending")
        raise
    except ConnectionResetError:
        pass  # nobody to tell
    except Exception:
        log.exception("a gRPC stream failed by a defect")
        call.fail(Code.INTERNAL, "internal error; the server's log has more")
