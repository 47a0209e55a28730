"""Siblings that misbehave: servers on loopback whose every answer is what a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

__all__ = ["StrangeSibling", "answer"]


def answer(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    """The bytes of an answer; `length` is what it claims, by default the truth."""
    claimed = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-length: {claimed}\r\n\r\n".encode() + body


class StrangeSibling:
    """Hands each connection to `behave` once a request's head has come. A context that leaves nothing behind."""

    def __init__(self, behave: Callable[[StrangeSibling, socket.socket], None] | bytes) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self.over = threading.Event()
        """What waits, waits for this."""
        self.asked = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(4096)
                    if not data:
                        return
                    head += data
                self.asked += 1
                if isinstance(self._behave, bytes):
                    connection.sendall(self._behave)
                else:
                    self._behave(self, connection)
                    return
