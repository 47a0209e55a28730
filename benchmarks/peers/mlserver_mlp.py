"""MLServer's way to a model of one's own: what `model-settings.json` names as its implementation."""

from __future__ import annotations

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import torch_network

__all__ = ["Mlp"]


class Mlp(MLModel):  # type: ignore[misc]
    """The network behind MLServer's codecs."""

    async def load(self) -> bool:
        """Read the weights."""
        self._network = torch_network(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One request, of which MLServer's own batching may have made one."""
        rows = torch.from_numpy(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("y", self._network(rows).numpy())
        return InferenceResponse(model_name=self.name, outputs=[output])
