"""gRPC's messages of inference as bodies of HTTP/1.1 requests: what a gRPC front sends to a port that serves REST.

What reads protobuf is imported for the first of them: replicas that get none do not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from botshard.oip.errors import InvalidInputError
from botshard.oip.fields import shortened
from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import Tensor
from kserve_runtimes.core.bot import LoadedBot

__all__ = ["decode_message", "encode_message"]


def decode_message(body: bytes | memoryview, bot: LoadedBot, /) -> InferenceRequest:
    """The inputs in a `ModelInferRequest`. Raises: InvalidInputError."""
    from botshard.oip.grpc_infer import decode_infer, parse_infer

    request = parse_infer(bytes(body))
    if request.model_name not in ("", bot.id):
        found = shortened(request.model_name)
        raise InvalidInputError(None, f"the message names model {found!r}, and the path another one")
    return decode_infer(request, inputs=bot.spec.inputs, outputs=bot.spec.outputs)


def encode_message(outputs: Mapping[str, Tensor], bot: LoadedBot, request: InferenceRequest, /) -> bytes:
    """The `ModelInferResponse`."""
    from botshard.oip.grpc_infer import encode_infer

    return encode_infer(outputs, model_name=bot.id, model_version=str(bot.version.number), request=request)
