"""How the body of an answer that comes in pieces goes over the wire."""

from __future__ import annotations

from collections.abc import Iterable

from botshard.http1.answers import bodiless, status_line
from botshard.http1.exchange import Exchange

__all__ = ["Framing"]


class Framing:
    """Of one answer: chosen with its head, kept to until its end."""

    __slots__ = ("_exchange", "_is_chunked", "_is_silent", "_lacks_bytes", "_line", "_status")

    def __init__(self, exchange: Exchange, status: int, *, length: int | None, whole_bytes: int | None = None) -> None:
        """Takes keep-alive from the exchange where only the end of the connection can end the body.

        Args:
            exchange: that is answered.
            status: of the answer.
            length: what the answer says of its body's size, if it says so.
            whole_bytes: size of the body where all of it is here.
        """
        self._exchange = exchange
        self._status = status
        self._is_silent = exchange.method == b"HEAD" or bodiless(status)
        self._is_chunked = False
        self._lacks_bytes = None if self._is_silent else length
        self._line = b""
        if length is None and not bodiless(status):
            length = whole_bytes
        if length is not None and status != 204:
            self._line = b"content-length: %d\r\n" % length
        elif bodiless(status):
            pass
        elif exchange.version == "1.0":
            exchange.keep_alive = False
        else:
            self._is_chunked = True
            self._line = b"transfer-encoding: chunked\r\n"

    def head(self, lines: Iterable[bytes], /) -> bytes:
        """The answer's head; `lines` are all header lines but those of length, date and connection."""
        link = self._exchange.link
        ours = (self._line, link.date_line(), link.connection_line(self._exchange), b"\r\n")
        return b"".join((status_line(self._status), *lines, *ours))

    def piece(self, body: bytes, /, *, is_last: bool) -> bytes:
        """A piece as it is sent.

        Raises: ValueError for more than was said, or less.
        """
        if self._is_silent:
            return b""
        if self._is_chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return framed + b"0\r\n\r\n" if is_last else framed
        if self._lacks_bytes is not None:
            self._lacks_bytes -= len(body)
            if self._lacks_bytes < 0:
                raise ValueError("the answer is longer than its content-length")
            if is_last and self._lacks_bytes:
                raise ValueError(f"the answer lacks {self._lacks_bytes} bytes of its content-length")
        return body
