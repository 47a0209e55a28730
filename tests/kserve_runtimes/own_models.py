"""Models as users of KServe write them: none of them knows of pools."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput, ModelNotReady
from kserve.utils.utils import get_predict_response
from safetensors.numpy import load_file


class Linear(Model):  # type: ignore[misc]  # the SDK has no types
    """`y = x W^T`, as a custom predictor of KServe's documentation: asynchronous, requests of V2."""

    def __init__(self, name: str, model_dir: str = "/mnt/models") -> None:
        super().__init__(name)
        self.model_dir = model_dir
        self.ready = False

    def load(self) -> bool:
        self.weights = load_file(Path(self.model_dir) / "linear.safetensors")["weight"]
        self.ready = True
        return self.ready

    async def predict(
        self, payload: InferRequest, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> InferResponse:
        rows = payload.inputs[0].as_numpy()
        await asyncio.sleep(0)
        return get_predict_response(payload, rows @ self.weights.T, self.name)


class SyncLinear(Model):  # type: ignore[misc]  # the SDK has no types
    """The same without `async`, loading itself when it is made, reading data as a list, naming its output."""

    model_dir: str

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self.path = Path(self.model_dir) / "linear.safetensors"
        self.ready = self.path.is_file()
        return bool(self.ready)

    def preprocess(self, payload: InferRequest, headers: dict[str, str] | None = None) -> Any:
        (one,) = payload.inputs
        if one.data and max(map(abs, one.data)) > 1e6:
            raise InvalidInput("numbers must be at most a million")
        return np.array(one.data, dtype=np.float32).reshape(one.shape)

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> InferResponse:
        if np.any(payload == 13):
            raise ModelNotReady(self.name)
        if np.any(payload == 14):
            raise RuntimeError("fourteen")
        weights = load_file(self.path)["weight"]  # lazily: the file has to be there as long as the model is
        output = InferOutput("y", [len(payload), 2], "FP32")
        output.set_data_from_numpy(payload @ weights.T, binary_data=False)
        return InferResponse("", self.name, [output])


class DictLinear(Linear):
    """The same for dictionaries of V1."""

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:  # type: ignore[override]
        rows = np.array(payload["instances"], dtype=np.float32)
        return {"predictions": (rows @ self.weights.T).tolist()}


class Greeter(Model):  # type: ignore[misc]  # the SDK has no types
    """Text in, text out, no files, dictionaries of V1 and several outputs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        return {"predictions": [{"greeting": f"hello {name}", "length": len(name)} for name in payload["instances"]]}


class NeverReady(Model):  # type: ignore[misc]  # the SDK has no types
    """Its `load` does not come to an end well."""

    def load(self) -> bool:
        return False


class NoModel:
    """Something else of the image."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_dir", default="/mnt/models")
    model = Linear("linear", parser.parse_args().model_dir)
    model.load()
    ModelServer().start([model])
