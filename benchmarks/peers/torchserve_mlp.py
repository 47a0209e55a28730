"""TorchServe's way to a model of one's own: the handler of its archive; it gets a batch of requests at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from network import torch_network

__all__ = ["Mlp"]


class Mlp:
    """The network behind TorchServe's batches."""

    def initialize(self, context: Any) -> None:
        """Read the weights, which lie in the archive."""
        self._network = torch_network(str(Path(context.system_properties["model_dir"]) / "weights.npz"))

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:  # noqa: ARG002 - TorchServe passes it
        """Answers in the order of the requests."""
        bodies: list[Any] = [entry.get("body") or entry.get("data") for entry in data]
        documents = [json.loads(body) if isinstance(body, bytes | bytearray) else body for body in bodies]
        outputs = self._network(torch.tensor([document["x"] for document in documents], dtype=torch.float32))
        return [{"y": row} for row in outputs.tolist()]


_service = Mlp()


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """What TorchServe calls: once without data, to initialise, then with a batch."""
    if data is None:
        _service.initialize(context)
        return None
    return _service.handle(data, context)
