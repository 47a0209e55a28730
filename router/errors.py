"""What can go wrong on the way through the router.

```
ShardingError
├── TerminalError
│   ├── UnknownBotError         no such bot, or it is retired, or none of the asking tenant's
│   ├── UnauthorizedError       nobody knows who asks
│   ├── ForbiddenError          who asks may not do that
│   ├── BadRequestError         a header or body that is not what it must be
│   ├── WrongMethodError        the path exists, this method of it does not
│   └── BodyTooLargeError       the body is over the limit
└── TransientError
    ├── NotReadyError           no routing table or catalog has been read yet
    ├── NoPoolError             the bot's family has no pool yet
    ├── UnsettledError          pools still disagree with the table after it was read again
    ├── CatalogUnreadableError  the bot is not known here and the store cannot be asked
    ├── OverloadedError         a bound of this router is reached
    ├── LimitedError            a limit of who asks, or of the bot, is reached
    ├── DeadlineError           the time is up
    ├── BodyTimeoutError        the time is up and the client has not sent its body yet
    ├── ClientGoneError         nobody waits for the answer any more
    └── UpstreamError           a pool did not answer; `pool` names it
        ├── ConnectError        no connection: nothing was sent
        ├── LostError           the connection ended before the head of an answer
        ├── GatewayError        an answer that is not the pool's own and says that there is no replica behind it
        ├── InvalidAnswerError  what came is not HTTP, or its head is too large
        └── CutError            the answer ended before its end
```

`problems.py` says which status each of them becomes.
"""

from __future__ import annotations

from botshard.sharding.errors import TerminalError, TransientError

__all__ = [
    "BadRequestError",
    "BodyTimeoutError",
    "BodyTooLargeError",
    "CatalogUnreadableError",
    "ClientGoneError",
    "ConnectError",
    "CutError",
    "DeadlineError",
    "ForbiddenError",
    "GatewayError",
    "InvalidAnswerError",
    "LimitedError",
    "LostError",
    "NoPoolError",
    "NotReadyError",
    "OverloadedError",
    "UnauthorizedError",
    "UnknownBotError",
    "UnsettledError",
    "UpstreamError",
    "WrongMethodError",
]


class UnknownBotError(TerminalError):
    """No bot of this name is served to who asks."""

    @classmethod
    def of(cls, bot_id: str, /) -> UnknownBotError:
        """In the same words whether there is no such bot or it is another tenant's."""
        return cls(f"bot {bot_id[:128]!r} does not exist")


class UnauthorizedError(TerminalError):
    """Neither a key nor a token says who asks, or what does is not good."""


class ForbiddenError(TerminalError):
    """Who asks is known and has not the role for it."""


class BadRequestError(TerminalError):
    """The request is not what it must be, which shows before any pool is asked."""


class WrongMethodError(TerminalError):
    """The path exists, but not with this method; `allowed` lists those that do."""

    def __init__(self, method: str, path: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not a method of {path}; use {' or '.join(allowed)}")
        self.allowed = allowed


class BodyTooLargeError(TerminalError):
    """The request's body is larger than the limit."""


class NotReadyError(TransientError):
    """The router has no routing table or no catalog yet."""


class NoPoolError(TransientError):
    """The bot is known; its family has no pool in the routing table."""


class UnsettledError(TransientError):
    """The bot's pool says that it is not its own, also by the newest table."""


class CatalogUnreadableError(TransientError):
    """The bot is not in the catalog held here, and the store cannot tell whether it is new."""


class OverloadedError(TransientError):
    """A bound of this router is reached: connections of a pool, or bytes of bodies held."""


class LimitedError(TransientError):
    """More is asked than a limit allows; `cause` says which, as the metric names it."""

    def __init__(self, message: str, *, cause: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.cause = cause


class DeadlineError(TransientError):
    """The request's time is up."""


class BodyTimeoutError(TransientError):
    """The request's time is up and its body is not here yet."""


class ClientGoneError(TransientError):
    """The client closed its connection."""


class UpstreamError(TransientError):
    """A pool did not answer as it should."""


class ConnectError(UpstreamError):
    """No connection to the pool; nothing was sent."""


class LostError(UpstreamError):
    """The connection ended before the head of the answer was complete."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale
        """Whether it was a kept-alive connection and not one byte came: the pool had most likely closed it before."""


class GatewayError(UpstreamError):
    """Something in front of the pool answered that there is no replica behind it."""


class InvalidAnswerError(UpstreamError):
    """What the pool sent is not HTTP, or its head is larger than the limit."""


class CutError(UpstreamError):
    """The answer ended in the middle of its body."""
