"""Triton with a Python callable and its dynamic batching: `python pytriton_mlp.py HTTP_PORT WEIGHTS`."""

from __future__ import annotations

import socket
import sys

import numpy as np
from network import numpy_network
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

_MOST_ROWS = 32
_DELAY_US = 2000


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def main() -> None:
    """Serve until killed."""
    port, weights = int(sys.argv[1]), sys.argv[2]
    network = numpy_network(weights)

    @batch  # type: ignore[untyped-decorator]
    def infer(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"y": network(x)}

    config = TritonConfig(
        http_port=port, http_address="127.0.0.1", grpc_port=_free_port(), metrics_port=_free_port(), log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="mlp",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.float32, shape=(-1,))],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(
                max_batch_size=_MOST_ROWS, batcher=DynamicBatcher(max_queue_delay_microseconds=_DELAY_US)
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
