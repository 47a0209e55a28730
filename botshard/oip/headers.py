"""Names of the headers that clients, router and pools exchange, in lower case as ASGI and HTTP/2 carry them."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BOT_VERSION",
    "EPOCH",
    "INFERENCE_HEADER_LENGTH",
    "MESSAGE",
    "POOL",
    "PUSHBACK",
    "REQUEST_ID",
    "REQUEST_TIMEOUT",
    "RETRY_AFTER",
]

EPOCH: Final = "x-botshard-epoch"
"""Router to pool: the epoch that the router routed by. Pool to router and client: the pool's own epoch."""
POOL: Final = "x-botshard-pool"
"""Answer: the pool that served the request."""
BOT_VERSION: Final = "x-botshard-bot-version"
"""Answer: the version of the bot that served the request."""
REQUEST_ID: Final = "x-request-id"
"""Both ways: the client's id of a request, or one that the router made."""
REQUEST_TIMEOUT: Final = "x-request-timeout"
"""Request: seconds that are left until nobody waits for the answer any more, a decimal number."""
INFERENCE_HEADER_LENGTH: Final = "inference-header-content-length"
"""Both ways: bytes of the JSON part of a body that binary tensors follow."""
MESSAGE: Final = "application/protobuf"
"""The `Content-Type` of a body that is a gRPC message of the protocol, and of an answer to one."""
RETRY_AFTER: Final = "retry-after"
"""Answer: whole seconds after which the same request may succeed."""
PUSHBACK: Final = "grpc-retry-pushback-ms"
"""gRPC's own form of `RETRY_AFTER`, in milliseconds: its clients that try again wait so long."""
