"""Servers that a pool's replica is measured with: `python -m benchmarks.pool_servers KIND PORT [PATH…]`.

`sdk` is KServe's model server, quiet, as its documentation writes it, with one model a file of weights that it is given
(or a folder of such folders). `floor` is what nobody would run: a bare protocol that takes any request for an inference
of its one model, checks nothing and has no other route. `answers` gives everybody the same answer, to see what the load
generator can do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any, cast

import httptools
import numpy as np
import orjson
import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 160\r\n\r\n" + b"x" * 160


class _Mlp:
    """The same network as the bot's."""

    def __init__(self, path: Path) -> None:
        import torch
        from safetensors.torch import load_file
        from torch import nn

        torch.set_num_threads(1)
        self._inference_mode, self._from_numpy = torch.inference_mode, torch.from_numpy
        weights = {name.removeprefix("layers."): tensor for name, tensor in load_file(path).items()}
        shapes = [weights[f"{index}.weight"].shape for index in range(2)]
        # As tutorials write it: modules are built, then the file's numbers copied into them.
        layers = [nn.Linear(inputs, outputs) for outputs, inputs in shapes]
        self._first, self._last = layers
        nn.ModuleList(layers).load_state_dict(weights)
        self._relu = torch.relu

    def __call__(self, rows: Any) -> Any:
        with self._inference_mode():
            return self._last(self._relu(self._first(self._from_numpy(rows))))


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


class _Answers(asyncio.Protocol):
    def __init__(self) -> None:
        self._missing_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Requests come one after the other, each sent at once."""
        if not self._missing_bytes:
            end = data.index(b"\r\n\r\n")
            at = data.index(b"content-length:") + len(b"content-length:")
            self._missing_bytes = end + 4 + int(data[at : data.index(b"\r", at)])
        self._missing_bytes -= len(data)
        if not self._missing_bytes:
            self._transport.write(_ANSWER)


def _serve_sdk(port: int, paths: list[Path]) -> None:
    sys.argv = [sys.argv[0], "--enable_latency_logging=false"]
    import kserve

    logging.disable(logging.INFO)

    class Mlp(kserve.Model):  # type: ignore[misc]
        def __init__(self, path: Path) -> None:
            super().__init__(path.parent.name)
            self._path = path

        def load(self) -> bool:
            self._mlp = _Mlp(self._path)
            self.ready = True
            return True

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
            outputs = self._mlp(payload.inputs[0].as_numpy()).numpy()
            wanted = {**(payload.parameters or {})}.get("binary_data_output", False)
            output = kserve.InferOutput("y", list(outputs.shape), "FP32")
            output.set_data_from_numpy(outputs, binary_data=bool(wanted))
            return kserve.InferResponse(payload.id or "1", self.name, [output])

    models = [Mlp(path) for path in paths]
    import torch  # noqa: F401 - so that the loop's time is the loop's alone

    started_s = time.process_time()
    for model in models:
        model.load()
    sys.stderr.write(f"loaded in {time.process_time() - started_s:.6f} s of CPU\n")
    sys.stderr.flush()
    kserve.ModelServer(http_port=port, enable_grpc=False, workers=1).start(models)


async def _serve(port: int, protocol: Any) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    kind, port, paths = sys.argv[1], int(sys.argv[2]), [Path(argument) for argument in sys.argv[3:]]
    match kind:
        case "sdk":
            folders = [path for path in paths if path.is_dir()]
            many = [found for folder in folders for found in sorted(folder.glob("*/model.safetensors"))]
            _serve_sdk(port, many or paths)
        case "floor":
            mlp = _Mlp(paths[0])
            uvloop.run(_serve(port, lambda: _Floor(mlp)))
        case "answers":
            uvloop.run(_serve(port, _Answers))
        case _:
            raise SystemExit(f"no server {kind}; there are sdk, floor and answers")


if __name__ == "__main__":
    main()
