"""KServe's model server as its documentation writes it: `python -m benchmarks.cold_peer KIND PORT FILE`.

`KIND` is what runs the network: numpy, torch or keras.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

kind, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.argv = [sys.argv[0], "--enable_latency_logging=false"]

import kserve  # noqa: E402 - it reads the command line


def _network() -> Callable[[Any], Any]:
    """Rows in, rows out."""
    match kind:
        case "numpy":
            import numpy as np
            from safetensors.numpy import load_file

            tensors = load_file(path)
            first, last = ((tensors[f"layers.{index}.weight"].T, tensors[f"layers.{index}.bias"]) for index in range(2))
            return lambda rows: np.maximum(rows @ first[0] + first[1], 0.0) @ last[0] + last[1]
        case "torch":
            import torch

            module = torch.export.load(path).module()
            return lambda rows: module(torch.from_numpy(rows)).detach().numpy()
        case _:
            import keras

            model = keras.saving.load_model(path)
            return lambda rows: model(rows).numpy()


class _Mlp(kserve.Model):  # type: ignore[misc]
    def load(self) -> bool:
        self._network = _network()
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        outputs = self._network(payload.inputs[0].as_numpy())
        output = kserve.InferOutput("y", list(outputs.shape), "FP32")
        output.set_data_from_numpy(outputs, binary_data=False)
        return kserve.InferResponse(payload.id or "1", self.name, [output])


if __name__ == "__main__":
    mlp = _Mlp("mlp")
    mlp.load()
    kserve.ModelServer(http_port=port, enable_grpc=False, workers=1).start([mlp])
