"""One call of a client: what it sent, and the way back. Lives on the event loop.

Operations go to the C core from the loop; that they are done is told on the thread of the completion queue, which
posts to the loop what the loop must know. An operation object belongs to one batch: the core keeps its buffers in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from grpc._cython import cygrpc

from botshard.rpc.codes import Code

__all__ = ["Metadata", "Post", "StreamCall", "UnaryCall"]

Metadata: TypeAlias = Sequence[tuple[str, str]]
Post: TypeAlias = Callable[[Callable[[Any], None], Any], None]

_MAX_TEXT_CHARS: Final = 1000
"""A status travels in a header, which clients bound."""
_NEVER: Final = 1e12
"""The core's deadlines are instants of `time.time`; a call that has none has one far away."""


def _ignore(_: Any) -> None:
    """Nothing waits for the end of this batch."""


class _Call:
    """What both kinds of calls share."""

    __slots__ = (
        "_core",
        "_is_ended",
        "_is_watched",
        "_post",
        "_sent_metadata",
        "deadline_s",
        "is_gone",
        "metadata",
        "on_gone",
    )

    def __init__(self, core: Any, post: Post, metadata: Any, deadline: float) -> None:
        self._core = core
        self._post = post
        self.metadata = metadata
        """What the client said besides its message, as pairs."""
        self.deadline_s = inf if deadline > _NEVER else time.monotonic() + deadline - time.time()
        """Instant of `time.monotonic`; infinity: the client said none."""
        self.is_gone = False
        """The client has given up, or its deadline is over. Set on the queue's thread."""
        self.on_gone: Callable[[], object] | None = None
        """Called on the loop when the client is gone before it was answered."""
        self._is_ended = False
        self._is_watched = False
        self._sent_metadata = False

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self.is_gone or self._is_ended

    @property
    def peer(self) -> tuple[str, int] | None:
        """Address and port of the client; None where it has none."""
        kind, _, address = self._core.peer().decode().partition(":")
        host, _, port = unquote(address).rpartition(":")
        return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdigit() else None

    def watch(self) -> None:
        """From here on the client's leaving is noticed. Most calls are answered sooner than that is worth it."""
        if not self._is_ended and not self._is_watched:
            self._is_watched = True
            self._core.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)

    def fail(self, code: Code, text: str, trailing: Metadata = (), /) -> None:
        """End it without an answer."""
        self._end((), code, text, trailing)

    def _end(self, messages: tuple[Any, ...], code: Code, text: str, trailing: Metadata) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        if self.is_gone:
            return
        details = text[:_MAX_TEXT_CHARS].encode() if text else b""
        status = cygrpc.SendStatusFromServerOperation(trailing, int(code), details, 0)
        # The core wants to be asked for a call's end once, now or before.
        close = () if self._is_watched else (cygrpc.ReceiveCloseOnServerOperation(0),)
        self._core.start_server_batch((*self._initial(), *messages, status, *close), _ignore)

    def _initial(self) -> tuple[Any, ...]:
        if self._sent_metadata:
            return ()
        self._sent_metadata = True
        return (cygrpc.SendInitialMetadataOperation(None, 0),)

    def _closed(self, event: Any) -> None:
        """On the queue's thread: the call has come to its end, one way or the other."""
        if event.batch_operations[0].cancelled() and not self._is_ended:
            self.is_gone = True
            self._post(_Call._tell_gone, self)

    def _tell_gone(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            if self.on_gone is not None:
                self.on_gone()


class UnaryCall(_Call):
    """One message, one answer."""

    __slots__ = ("_handle", "message")

    def __init__(
        self, core: Any, post: Post, metadata: Any, deadline: float, handle: Callable[[UnaryCall], None]
    ) -> None:
        super().__init__(core, post, metadata, deadline)
        self._handle = handle
        self.message = b""
        core.start_server_batch((cygrpc.ReceiveMessageOperation(0),), self._received)

    def answer(self, message: bytes, trailing: Metadata = (), /) -> None:
        """The answer, in one operation; nothing where nobody waits for it."""
        self._end((cygrpc.SendMessageOperation(message, 0),), Code.OK, "", trailing)

    def _received(self, event: Any) -> None:
        """On the queue's thread."""
        message = event.batch_operations[0].message()
        if message is None:
            # Too large, which the core has answered; or there is none at all.
            self._post(UnaryCall._refuse, self)
        else:
            self.message = message
            self._post(UnaryCall._run, self)

    def _refuse(self) -> None:
        self.fail(Code.INVALID_ARGUMENT, "the call has no message")

    def _run(self) -> None:
        if not self._is_ended:
            try:
                self._handle(self)
            except Exception:
                self.fail(Code.INTERNAL, "internal error; the server's log has more")
                raise


class StreamCall(_Call):
    """Any number of messages both ways."""

    __slots__ = ("_loop",)

    def __init__(self, core: Any, post: Post, metadata: Any, deadline: float) -> None:
        super().__init__(core, post, metadata, deadline)
        self._loop = asyncio.get_running_loop()
        self.watch()

    async def read(self) -> bytes | None:
        """The next message; None: the client sends no more."""
        event = await self._batch(cygrpc.ReceiveMessageOperation(0))
        message: bytes | None = event.batch_operations[0].message()
        return message

    async def write(self, message: bytes, /) -> None:
        """Send a message. Raises: ConnectionResetError where nobody takes it any more."""
        event = await self._batch(*self._initial(), cygrpc.SendMessageOperation(message, 0))
        if not event.success:
            raise ConnectionResetError("the client of a stream is gone")

    def end(self) -> None:
        """Nothing follows, and all went well."""
        self._end((), Code.OK, "", ())

    def _batch(self, *operations: Any) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self._loop.create_future()
        self._core.start_server_batch(operations, partial(self._post, partial(_resolve, done)))
        return done


def _resolve(done: asyncio.Future[Any], event: Any) -> None:
    if not done.done():
        done.set_result(event)
