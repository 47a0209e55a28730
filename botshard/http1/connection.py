"""One connection: requests queue, each is answered when its turn has come, and time is watched.

What keeps it bounded: reading pauses while the queue is full, a body waits for its application, or the peer does not
read; and in every state there is an instant (`_due`) at which something ends.
"""

from __future__ import annotations

import asyncio
import math
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from botshard.http1.alarm import Alarm
from botshard.http1.answers import CONTINUE, Answer, head_of
from botshard.http1.asgi import AsgiExchange
from botshard.http1.exchange import Exchange, address_of
from botshard.http1.outflow import Outflow
from botshard.http1.patience import Patience
from botshard.http1.reader import RequestReader
from botshard.http1.refusal import Refusal
from botshard.http1.turns import Turns, drop

if TYPE_CHECKING:
    from botshard.http1.server import Http1Server

__all__ = ["Connection"]

_STARTED_AT_ONCE: Final = 8
"""Pipelined requests that are begun in one turn of the loop; others' connections come between."""
_CLOSE: Final = b"connection: close\r\n"
_KEEP_ALIVE: Final = b"connection: keep-alive\r\n"


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self, server: Http1Server) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = server.loop
        self._reader = RequestReader(self, server.limits)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.peer: tuple[str, int] | None = None
        self.local: tuple[str, int] | None = None
        self._queue = Turns()
        self._is_advancing = False
        self._reads_paused = False
        self._discarded_bytes = 0
        self._has_eof = False
        self.out = Outflow()
        self.is_closing = False
        self.trip: Any = None
        """What the server's shortcut keeps with this connection."""
        self._is_lingering = False
        self._patience = Patience(server.limits)
        self._alarm = Alarm(self._loop, due=self._due, act=self._act)

    # ── the transport ─────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.buffered_answer_bytes)
        self.peer, self.local = address_of(transport, "peername"), address_of(transport, "sockname")
        self._server.connections.add(self)
        is_draining = self._server.is_draining
        self._alarm.arm(self._patience.idle(self._limits.first_request_s if is_draining else self._limits.keep_alive_s))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Nobody is there any more."""
        self.is_closing = True
        self._reader.is_deaf = True
        self._alarm.stop()
        self.out.open()
        self._abandon_all()
        self._server.lost(self)

    def eof_received(self) -> bool:
        """The peer sends nothing any more; it may still wait for answers."""
        self._has_eof = True
        unfinished = self._reader.current
        if unfinished is not None and not unfinished.is_over:
            # Its body will never be whole.
            self._queue.withdraw(unfinished)
        self._reader.current = None
        self._reader.is_deaf = True
        if self._queue and not self._is_lingering:
            self._alarm.arm(self._patience.half_closed())
            return True
        self._close()
        return False

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.out.block()
        self._alarm.arm(self.out.blocked_since_s + self._limits.write_timeout_s)
        self._check_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self.out.open()
        if self._queue and self._queue[0].is_started and not self.is_closing:
            self._queue[0].resumed()
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is whole."""
        reader = self._reader
        shortcut = self._server.shortcut
        if shortcut is not None and not self._queue and reader.is_at_start and not reader.is_deaf:
            if shortcut.take(self, data):
                return
            reader.feed(data)
            if self._queue:
                shortcut.learn(self._queue[0], data)
        elif reader.is_deaf:
            self.discard(len(data))
            return
        else:
            reader.feed(data)
        if reader.head_since_s != math.inf:
            self._alarm.arm(reader.head_since_s + self._limits.head_timeout_s)
        elif reader.body_since_s != math.inf:
            self._alarm.arm(reader.body_since_s + self._limits.body_timeout_s)
        self._advance()

    # ── the reader ────────────────────────────────────────────────────────────────────────────────────────────────────

    def exchange_for(self, method: bytes, target: bytes, /) -> Exchange:
        """A hot exchange, or one for the application."""
        server = self._server
        return server.recognise(method, target) or AsgiExchange(server.application, self._limits.buffered_body_bytes)

    def arrived(self, exchange: Exchange, /) -> None:
        """Queue it."""
        self._discarded_bytes = 0
        exchange.link = self
        self._queue.append(exchange)
        exchange.begin()
        if exchange.deadline_s < self._alarm.armed_s:
            self.watch(exchange)

    def refuse(self, status: int, text: str, fields: dict[bytes, bytes], /) -> None:
        """The last answer of this connection, in its turn; a request that was being read gets no other."""
        unfinished = self._reader.current
        self._reader.current = None
        if unfinished is not None:
            if unfinished.is_over or unfinished.has_answered:
                self.broken(unfinished)
                return
            self._queue.withdraw(unfinished)
        refusal = Refusal(self._server.refuse(status, text, fields))
        refusal.link = self
        self._queue.append(refusal)

    def take_up(self, exchange: Exchange, /) -> None:
        """Queue the only exchange there is, which is started already."""
        self._discarded_bytes = 0
        self._reader.is_fresh = False
        self._queue.append(exchange)
        if exchange.deadline_s < self._alarm.armed_s:
            self._alarm.arm(exchange.deadline_s)

    def replace(self, exchange: Exchange, by: Exchange, /) -> None:
        """Another exchange goes on for `exchange`, if that still waits here."""
        if self._queue.replace_by(exchange, by):
            self._alarm.arm(by.deadline_s)

    def discard(self, size_bytes: int, /) -> None:
        """Bytes that nobody wants. Many clients send all of a body before they read: a last answer waits for that."""
        if self._is_lingering:
            self._patience.more_came()
            return
        self._discarded_bytes += size_bytes
        if self._discarded_bytes <= self._limits.max_discard_bytes:
            return
        if not self._queue:
            self._end(linger=True)
        elif not self._reads_paused and not self.is_closing:
            self._reads_paused = True
            self._transport.pause_reading()

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Start what can be started, in order."""
        if self._is_advancing:
            return
        self._is_advancing = True
        queue = self._queue
        begun = 0
        while queue and self.out.is_open and not self.is_closing:
            front = queue[0]
            if front.is_started:
                break
            if not front.may_start:
                if front.expects_continue:
                    front.expects_continue = False
                    self._transport.write(CONTINUE)
                break
            if begun == _STARTED_AT_ONCE:
                self._loop.call_soon(self._advance)
                break
            begun += 1
            front.is_started = True
            front.start()
        self._is_advancing = False
        self._check_reading()

    def _check_reading(self) -> None:
        if self.is_closing or self._is_lingering or self._discarded_bytes > self._limits.max_discard_bytes:
            return
        reader = self._reader
        pause = (
            len(self._queue) > self._limits.max_queued
            or not self.out.is_open
            or (reader.current is not None and reader.current.is_full)
        )
        if pause == self._reads_paused:
            return
        self._reads_paused = pause
        if pause:
            self._transport.pause_reading()
            return
        self._transport.resume_reading()
        if reader.current is not None:
            reader.body_since_s = monotonic()
            self._alarm.arm(reader.body_since_s + self._limits.body_timeout_s)

    def read_on(self) -> None:
        """A body's bytes were taken."""
        if self._reads_paused:
            self._check_reading()

    def watch(self, exchange: Exchange, /) -> None:
        """See to its deadline."""
        self._alarm.arm(exchange.deadline_s)

    def write(self, data: bytes, /) -> None:
        """Send bytes."""
        if data and not self.is_closing:
            self._transport.write(data)

    def date_line(self) -> bytes:
        """The `Date` header."""
        return self._server.clock.date_line()

    def connection_line(self, exchange: Exchange, /) -> bytes:
        """The `Connection` header."""
        if (
            not exchange.keep_alive
            or (exchange.expects_continue and not exchange.is_whole)
            or ((self._server.is_draining or self._has_eof) and len(self._queue) == 1)
        ):
            exchange.keep_alive = False
            return _CLOSE
        return b"" if exchange.version == "1.1" else _KEEP_ALIVE

    def reply(self, exchange: Exchange, answer: Answer, /) -> None:
        """Send a whole answer."""
        if exchange.is_over:
            return
        if exchange is not self._queue[0]:
            # Only deadlines answer out of turn.
            self._answer_later(exchange, answer)
            return
        if not self.is_closing:
            head = head_of(answer, self._server.clock.date_line(), self.connection_line(exchange))
            self._transport.write(head if exchange.method == b"HEAD" else head + answer.body)
        self.finished(exchange)

    def _answer_later(self, exchange: Exchange, answer: Answer) -> None:
        later = Refusal(answer)
        later.link = self
        later.is_whole = exchange.is_whole
        later.keep_alive = exchange.keep_alive and exchange.is_whole
        if not exchange.is_whole:
            self._reader.is_deaf = True
            self._reader.current = None
        self._queue.replace_by(exchange, later)
        drop(exchange)

    def finished(self, exchange: Exchange, /) -> None:
        """The answer was written."""
        self._queue.popleft()
        exchange.is_over = True
        exchange.over()
        if self.is_closing:
            return
        is_last = self._has_eof or self._server.is_draining or self._reader.is_deaf
        if not exchange.keep_alive or (is_last and not self._queue):
            self._end(linger=not exchange.is_whole or self._discarded_bytes > 0)
            return
        if not self._queue:
            self._alarm.arm(self._patience.idle(self._limits.keep_alive_s))
        if not self._is_advancing and (self._queue or self._reads_paused):
            self._advance()

    def reply_short(self, answer: bytes, body: memoryview | None = None, /) -> bool:
        """Send the whole answer of the first exchange, by HTTP/1.1 and for a connection that stays open.

        False: nothing was sent, since the answer must say more than usual or cannot be sent now.
        """
        if self.is_closing or self._has_eof or self._server.is_draining or not self.out.is_open:
            return False
        if body is None:
            self._transport.write(answer)
        else:
            self._transport.writelines((answer, body))
        self._queue.popleft()
        return True

    def finished_short(self, now_s: float, /) -> None:
        """After `reply_short`, once its exchange is over."""
        self._patience.idle_until_s = until_s = now_s + self._limits.keep_alive_s
        if self._queue or self._reads_paused:
            self._advance()
        elif until_s < self._alarm.armed_s:
            self._alarm.arm(until_s)

    def broken(self, exchange: Exchange, /) -> None:  # noqa: ARG002 - the connection is over with it
        """The answer cannot be completed."""
        self.abort()

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def end_idle(self, *, fresh: bool) -> None:
        """Close where no request is incomplete or unanswered; `fresh`: also where none was begun or none is whole."""
        if not self._queue and (fresh or (self._reader.is_between and not self._reader.is_fresh)):
            self._close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._abandon_all()
        self.is_closing = True
        self._transport.abort()

    def _abandon_all(self) -> None:
        self._reader.current = None
        self._queue.abandon_all()

    def _end(self, *, linger: bool) -> None:
        """After the last answer."""
        self._abandon_all()
        self._reader.is_deaf = True
        if linger and not self._has_eof:
            self._is_lingering = True
            self._transport.write_eof()
            if self._reads_paused:
                self._reads_paused = False
                self._transport.resume_reading()
            self._alarm.arm(self._patience.lingering())
        else:
            self._close()

    def _close(self) -> None:
        """Close once everything was sent; a peer that does not read cannot hold it open for ever."""
        if self.is_closing:
            return
        self.is_closing = True
        self._alarm.arm(self._patience.closing())
        self._transport.close()

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _due(self) -> float:
        due_s = min(self._patience.ends_at_s, self.out.blocked_since_s + self._limits.write_timeout_s)
        if self.is_closing or self._is_lingering:
            return due_s
        return min(due_s, self._patience.due(self._reader, self._queue, reads_paused=self._reads_paused))

    def _look_for_peer(self) -> None:
        """Where an answer is on its way, writing tells whether the peer is gone."""
        if self._queue[0].has_answered:
            self._patience.half_closed()
        else:
            self.abort()

    def _act(self) -> None:
        """Something is due."""
        now_s, limits, reader = monotonic(), self._limits, self._reader
        if self._is_lingering and now_s < self._patience.cut_at_s and self._transport.get_write_buffer_size():
            self._patience.more_came()
            return
        if self._patience.ends_at_s <= now_s or self.out.blocked_since_s + limits.write_timeout_s <= now_s:
            self.abort()
        elif reader.head_since_s + limits.head_timeout_s <= now_s:
            reader.head_since_s = math.inf
            reader.refuse(408, f"the head was not whole within {limits.head_timeout_s:g} s")
        elif reader.body_since_s + limits.body_timeout_s <= now_s and not self._reads_paused:
            reader.body_since_s = math.inf
            reader.refuse(408, f"no byte of the body came within {limits.body_timeout_s:g} s")
        elif not self._queue:
            self._close()
        elif self._patience.gone_at_s <= now_s:
            self._look_for_peer()
        else:
            self._queue.expire(now_s)
        self._advance()
