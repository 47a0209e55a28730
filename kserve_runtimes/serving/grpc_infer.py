"""`ModelInfer`: one message to the stages that REST's requests go through, and one message back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import Any, cast

from botshard.oip.grpc_infer import decode_infer, encode_infer, parse_infer
from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import Tensor
from botshard.rpc.calls import UnaryCall
from kserve_runtimes.core.asked import SMALL_BYTES, Call, Times
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import DeadlineExceededError
from kserve_runtimes.serving.grpc_front import GrpcFront, fields_of
from kserve_runtimes.serving.messages import Fields, epoch_of, timeout_of

__all__ = ["asked_s", "begin_infer"]


def begin_infer(front: GrpcFront, rpc: UnaryCall, /) -> None:
    """Take up one inference request."""
    fields = fields_of(rpc.metadata)
    try:
        request = parse_infer(rpc.message)
        call = Call(request.model_name, request.model_version or None, epoch_of(fields))
        timeout_s = front.pool.timeout_s(asked_s(rpc, fields))
    except Exception as error:  # noqa: BLE001 - every error has its place in the table of problems
        front.fail(rpc, error, fields)
        return
    asked = _Infer(front, rpc, request, call, fields, timeout_s)
    asked.getting_bot = front.inference.submit(asked)


def asked_s(rpc: UnaryCall, fields: Fields) -> float | None:
    """Seconds that the caller has left: by gRPC's own deadline, or by the router's header if that is sooner."""
    header_s = timeout_of(fields)
    if rpc.deadline_s < inf:
        remaining_s = max(rpc.deadline_s - monotonic(), 0.0)
        return remaining_s if header_s is None else min(header_s, remaining_s)
    return header_s


class _Infer:
    """An inference request as the stages see it (`kserve_runtimes.core.asked.Asked`)."""

    __slots__ = (
        "_fields",
        "_front",
        "_request",
        "_rpc",
        "_timeout_s",
        "call",
        "deadline_s",
        "getting_bot",
        "is_over",
    )

    def __init__(
        self, front: GrpcFront, rpc: UnaryCall, request: Any, call: Call, fields: Fields, timeout_s: float
    ) -> None:
        self._front = front
        self._rpc = rpc
        self._request = request
        self._fields = fields
        self._timeout_s = timeout_s
        self.is_over = False
        """Answered, expired, or given up by its client."""
        self.getting_bot: asyncio.Task[bool] | None = None
        """What waits for its bot to be loaded."""
        self.call = call
        self.deadline_s = monotonic() + timeout_s
        rpc.on_gone = self._end
        front.begin(self)

    @property
    def is_small(self) -> bool:
        """Whether decoding it on the loop is cheap."""
        return len(self._rpc.message) <= SMALL_BYTES

    def decode(self, bot: LoadedBot, /) -> InferenceRequest:
        """The message's tensors."""
        return decode_infer(self._request, inputs=bot.spec.inputs, outputs=bot.spec.outputs)

    def encode(self, bot: LoadedBot, outputs: Mapping[str, Tensor], decoded: InferenceRequest, /) -> bytes:
        """The answer's message."""
        return encode_infer(outputs, model_name=bot.id, model_version=str(bot.version.number), request=decoded)

    def answered(self, encoded: object, bot: LoadedBot, times: Times, /) -> None:  # noqa: ARG002 - not told here
        """Send it."""
        if self._end():
            front = self._front
            front.pool.metrics.count_grpc(2)
            self._rpc.answer(cast(bytes, encoded), front.trailing(self._fields, version=bot.version.number))

    def failed(self, error: Exception, /) -> None:
        """Send what the table of problems says of it."""
        if self._end():
            if isinstance(error, DeadlineExceededError):
                error = DeadlineExceededError(self._timeout_s)
            self._front.fail(self._rpc, error, self._fields)

    def expire(self) -> None:
        """DEADLINE_EXCEEDED, whatever it is waiting for."""
        self.failed(DeadlineExceededError(self._timeout_s))

    def _end(self) -> bool:
        """No longer in flight; False: it was not any more."""
        if self.is_over:
            return False
        self.is_over = True
        if self.getting_bot is not None:
            self.getting_bot.cancel()
        self._front.end(self)
        return True
