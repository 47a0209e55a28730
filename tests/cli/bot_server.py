"""Two bots behind the Open Inference Protocol: a real HTTP server as a router looks to a client."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from botshard.oip.errors import InvalidInputError
from botshard.oip.metadata import model_metadata
from botshard.oip.rest import decode_request, encode_response
from botshard.oip.tensors import Tensor
from botshard.sharding.catalog import TensorSpec

__all__ = ["BotServer"]

TEXT_INPUTS = (TensorSpec("text", "BYTES", (-1, 1)),)
TEXT_OUTPUTS = (TensorSpec("label", "BYTES", (-1, 1)), TensorSpec("score", "FP32", (-1, 1)))
SUM_INPUTS = (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "INT64", (-1, 1)))
SUM_OUTPUTS = (TensorSpec("sum", "FP32", (-1, 1)),)


class BotServer:
    """`echo` labels a text with itself, `sums` adds tensors; usable as a context."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Method and path of each request, in their order."""
        self.credentials: list[str | None] = []
        """What each request has said of who asks."""
        self.batches: list[int] = []
        """Rows of each question to `echo`."""
        self.is_ready = True
        self.hold = threading.Event()
        """While it is cleared, questions are not answered."""
        self.hold.set()
        self.asked = threading.Event()
        """Set by the first question."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        self.requests.append(f"{method} {path}")
        if path == "/v2/health/ready" and not self.is_ready:
            return _problem(503, "no table yet", retry=1)
        if method == "GET" and path in _DOCUMENTS:
            return 200, {}, _DOCUMENTS[path]
        match path:
            case "/v2/models/echo/infer":
                return self._infer(body, TEXT_INPUTS, self._echo)
            case "/v2/models/sums/infer":
                return self._infer(body, SUM_INPUTS, _sum)
            case _:
                return _problem(404, f"bot {path.split('/')[3]!r} does not exist")

    def _infer(
        self, body: bytes, specs: tuple[TensorSpec, ...], work: Callable[[Any], dict[str, Tensor]]
    ) -> tuple[int, dict[str, str], bytes]:
        self.asked.set()
        self.hold.wait()
        try:
            request = decode_request(body, inputs=specs)
            encoded = encode_response(work(request.inputs), model_name="bot", model_version="3", request=request)
        except InvalidInputError as error:
            return _problem(400, str(error))
        headers = {"x-botshard-pool": "pool-1", "x-botshard-bot-version": "3", "x-botshard-epoch": "7"}
        return 200, headers, encoded.body

    def _echo(self, inputs: Any) -> dict[str, Tensor]:
        texts = [text.decode() for text in inputs["text"].data]
        self.batches.append(len(texts))
        if "boom" in texts:
            raise InvalidInputError("text", "it says boom")
        scores = np.full((len(texts), 1), 0.5, dtype=np.float32)
        return {"label": Tensor.of("label", [f"<{text}>" for text in texts]), "score": Tensor.of("score", scores)}


def _sum(inputs: Any) -> dict[str, Tensor]:
    total = inputs["x"].data.sum(axis=1, keepdims=True) + inputs["y"].data
    return {"sum": Tensor.of("sum", total.astype(np.float32))}


def _metadata(name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bytes:
    return json.dumps(model_metadata(name=name, platform="torch", inputs=inputs, outputs=outputs)).encode()


_DOCUMENTS = {
    "/v2/health/ready": b'{"ready":true}',
    "/v2/models": b'{"models":["echo","sums"]}',
    "/v2/models/echo": _metadata("echo", TEXT_INPUTS, TEXT_OUTPUTS),
    "/v2/models/sums": _metadata("sums", SUM_INPUTS, SUM_OUTPUTS),
}


def _problem(status: int, text: str, *, retry: int | None = None) -> tuple[int, dict[str, str], bytes]:
    return status, {} if retry is None else {"retry-after": str(retry)}, json.dumps({"error": text}).encode()


def _handler_of(server: BotServer) -> type[BaseHTTPRequestHandler]:
    class Exchange(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            server.credentials.append(self.headers["authorization"])
            status, headers, data = server.answer(self.command, self.path, body)
            try:
                self.send_response(status)
                for name, value in {**headers, "content-type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):  # the client was interrupted
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Exchange
