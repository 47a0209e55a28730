"""gRPC servers that a pool's replica is measured with: `python -m benchmarks.grpc_servers KIND PORT [WEIGHTS]`.

`sdk` is KServe's model server with one model, quiet, as its documentation writes it. `aio` is gRPC's own asyncio server
that gives every message back as it came, without a look into it; `core` is the same on `botshard.rpc`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import grpc
import uvloop

from botshard.rpc.server import RpcServer

INFER = "/inference.GRPCInferenceService/ModelInfer"
_ANY_PORT = "0"


def _serve_sdk(port: int, path: str) -> None:
    sys.argv = [sys.argv[0], "--enable_latency_logging=false", "--http_port", _ANY_PORT]
    import kserve
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional

    logging.disable(logging.INFO)

    class Mlp(kserve.Model):  # type: ignore[misc]
        def load(self) -> bool:
            torch.set_num_threads(1)
            self._weights = load_file(path)
            self.ready = True
            return True

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
            weights = self._weights
            with torch.inference_mode():
                rows = torch.from_numpy(payload.inputs[0].as_numpy().copy())
                hidden = torch.relu(functional.linear(rows, weights["layers.0.weight"], weights["layers.0.bias"]))
                outputs = functional.linear(hidden, weights["layers.1.weight"], weights["layers.1.bias"]).numpy()
            output = kserve.InferOutput("y", list(outputs.shape), "FP32")
            output.set_data_from_numpy(outputs, binary_data=True)
            return kserve.InferResponse(payload.id or "1", self.name, [output], use_binary_outputs=True)

    model = Mlp("mlp")
    model.load()
    kserve.ModelServer(grpc_port=port, enable_grpc=True, workers=1).start([model])


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Any method, any message: back as it came."""

    def __init__(self) -> None:
        async def echo(message: bytes, _: Any) -> bytes:
            return message

        self._handler = grpc.unary_unary_rpc_method_handler(echo)

    def service(self, _: Any) -> Any:
        """The one that there is."""
        return self._handler


async def _serve_aio(port: int) -> None:
    from grpc import aio

    server = aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def _serve_core(port: int) -> None:
    server = RpcServer(unary={INFER: lambda call: call.answer(call.message)}, streams={}, max_message_bytes=16 << 20)
    server.listen(f"127.0.0.1:{port}")
    await asyncio.get_running_loop().create_future()


def main() -> None:
    """Serve until killed."""
    kind, port = sys.argv[1], int(sys.argv[2])
    match kind:
        case "sdk":
            _serve_sdk(port, sys.argv[3])
        case "aio":
            uvloop.run(_serve_aio(port))
        case _:
            uvloop.run(_serve_core(port))


if __name__ == "__main__":
    main()
