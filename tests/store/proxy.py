"""A TCP proxy that loses answers (the request is carried out, the client never hears of it), or is far away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

__all__ = ["LossyProxy"]


class LossyProxy:
    """Forwards to a loopback port; drops the connection instead of the answer while `losing` is above 0."""

    def __init__(self, port: int, /) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._open: list[socket.socket] = []
        self.losing = 0
        """How many answers are still to be lost."""
        self.delay_s = 0.0
        """How long each request is on its way."""
        self._over = threading.Event()

    @property
    def endpoint(self) -> str:
        port: int = self._listener.getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client), kwargs={"is_answer": True}, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, *, is_answer: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer and self.losing > 0:
                    self.losing -= 1
                    break
                if not is_answer and self.delay_s:
                    self._over.wait(self.delay_s)
                target.sendall(data)
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
