"""Servers that a pool's replica is measured with: `python -m benchmarks.pool_servers KIND PORT WEIGHTS`.

`sdk` is KServe's model server with one model, quiet, as its documentation writes it. `floor` is what nobody would run:
a bare protocol that takes any request for an inference of its one model, checks nothing and has no other route.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any, cast

import httptools
import numpy as np
import orjson
import torch
import uvloop
from safetensors.torch import load_file
from torch.nn import functional


class _Mlp:
    """The same network as the bot's."""

    def __init__(self, path: str) -> None:
        torch.set_num_threads(1)
        weights = load_file(path)
        self._first = weights["layers.0.weight"], weights["layers.0.bias"]
        self._last = weights["layers.1.weight"], weights["layers.1.bias"]

    def __call__(self, rows: Any) -> Any:
        with torch.inference_mode():
            return functional.linear(torch.relu(functional.linear(torch.from_numpy(rows), *self._first)), *self._last)


class _Floor(asyncio.Protocol):
    def __init__(self, mlp: _Mlp) -> None:
        self._mlp = mlp
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        (tensor,) = orjson.loads(self._body)["inputs"]
        self._body = b""
        rows = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        outputs = self._mlp(rows).numpy()
        document = {
            "model_name": "mlp",
            "outputs": [{"name": "y", "shape": outputs.shape, "datatype": "FP32", "data": outputs.ravel()}],
        }
        answer = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))


def _serve_sdk(port: int, path: str) -> None:
    sys.argv = [sys.argv[0], "--enable_latency_logging=false"]
    import kserve

    logging.disable(logging.INFO)

    class Mlp(kserve.Model):  # type: ignore[misc]
        def load(self) -> bool:
            self._mlp = _Mlp(path)
            self.ready = True
            return True

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
            outputs = self._mlp(payload.inputs[0].as_numpy()).numpy()
            output = kserve.InferOutput("y", list(outputs.shape), "FP32")
            output.set_data_from_numpy(outputs, binary_data=False)
            return kserve.InferResponse(payload.id or "1", self.name, [output])

    model = Mlp("mlp")
    model.load()
    kserve.ModelServer(http_port=port, enable_grpc=False, workers=1).start([model])


async def _serve_floor(port: int, path: str) -> None:
    mlp = _Mlp(path)
    server = await asyncio.get_running_loop().create_server(lambda: _Floor(mlp), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    kind, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if kind == "sdk":
        _serve_sdk(port, path)
    else:
        uvloop.run(_serve_floor(port, path))


if __name__ == "__main__":
    main()
