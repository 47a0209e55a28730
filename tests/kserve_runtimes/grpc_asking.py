"""A replica asked over gRPC, with the protocol's messages and gRPC's own client."""

from __future__ import annotations

from typing import Any, Self

import grpc

from botshard.oip.grpc_schema import SERVICE, message_class
from botshard.oip.tensors import Tensor
from tests.oip.grpc_messages import read_answer

__all__ = ["Failed", "Rpc"]


class Failed:
    """How a call failed."""

    def __init__(self, error: Any) -> None:
        self.code: str = error.code().name
        self.text: str = error.details() or ""
        self.trailing: dict[str, str] = dict(error.trailing_metadata() or ())


class Rpc:
    """One channel of its own connection. A context."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        )
        self.trailing: dict[str, str] = {}
        """Of the last call that was answered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def begin(self, request: Any, **more: Any) -> Any:
        """An inference that is waited for later: a future of gRPC's."""
        return self.channel.unary_unary(f"/{SERVICE}/ModelInfer").future(request.SerializeToString(), **more)

    def send(self, method: str, message: bytes, **more: Any) -> bytes | Failed:
        """The answer's bytes, or how it failed."""
        more.setdefault("timeout", 20.0)
        try:
            answer, call = self.channel.unary_unary(method).with_call(message, **more)
        except grpc.RpcError as error:
            return Failed(error)
        self.trailing = dict(call.trailing_metadata())
        body: bytes = answer
        return body

    def infer(self, request: Any, **more: Any) -> dict[str, Tensor] | Failed:
        """The outputs."""
        answer = self.send(f"/{SERVICE}/ModelInfer", request.SerializeToString(), **more)
        return answer if isinstance(answer, Failed) else read_answer(answer)[1]

    def outputs(self, request: Any, **more: Any) -> dict[str, Tensor]:
        """The outputs; it must not fail."""
        found = self.infer(request, **more)
        assert not isinstance(found, Failed), (found.code, found.text)
        return found

    def failure(self, request: Any, **more: Any) -> Failed:
        """How it failed; it must."""
        found = self.infer(request, **more)
        assert isinstance(found, Failed), found
        return found

    def call(self, method: str, **fields: Any) -> Any:
        """The answer's message of another method; it must not fail."""
        found = self.try_call(method, **fields)
        assert not isinstance(found, Failed), (found.code, found.text)
        return found

    def try_call(self, method: str, **fields: Any) -> Any:
        """The answer's message of another method, or how it failed."""
        request = message_class(f"{method}Request")(**fields)
        answer = self.send(f"/{SERVICE}/{method}", request.SerializeToString())
        return answer if isinstance(answer, Failed) else message_class(f"{method}Response").FromString(answer)
