"""What can stand between a request and its answer.

```
TerminalError
├── UnknownBotError         no such bot, or it is retired
├── UnknownVersionError     the bot is here, but another version of it is served
├── MisdirectedError        the bot is another pool's
├── SampleFailedError       a bot fails on the sample request that came with it, so it is not served
├── PredictFailedError      the model or a processing step failed on this input
├── GrpcUnavailableError    this replica is to serve gRPC, and it cannot be imported
└── SdkUnavailableError     what is asked only KServe's SDK serves, and it cannot be imported
TransientError
├── LoadFailedError         the bot could not be loaded; tried again later
├── NoRoomError             memory is full of bots that are all in use
├── ModelNotReadyError      the bot is in memory and says that it is not ready
├── BotQueueFullError       as many requests as may wait for one bot wait for it already
├── QueueFullError          as many requests as a replica may hold are there already
├── TooLateError            what waits already takes longer than the request has left
├── PoolNotReadyError       table and catalog were not read yet, or the replica is ending
└── DeadlineExceededError   nobody waits for the answer any more
```
"""

from __future__ import annotations

from typing import Final

from botshard.sharding.errors import TerminalError, TransientError
from botshard.sharding.ids import BotId, Epoch, PoolName, VersionNumber

__all__ = [
    "BotQueueFullError",
    "DeadlineExceededError",
    "GrpcUnavailableError",
    "LoadFailedError",
    "MisdirectedError",
    "ModelNotReadyError",
    "NoRoomError",
    "PoolNotReadyError",
    "PredictFailedError",
    "QueueFullError",
    "SampleFailedError",
    "SdkUnavailableError",
    "TooLateError",
    "UnknownBotError",
    "UnknownVersionError",
]


class UnknownBotError(TerminalError):
    """The catalog has no such bot that is not retired."""

    def __init__(self, bot_id: str) -> None:
        super().__init__(f"bot {bot_id[:128]!r} does not exist")
        self.bot_id = bot_id


class UnknownVersionError(TerminalError):
    """A request named a version that is not the one served."""

    def __init__(self, bot_id: BotId, asked: str, serving: VersionNumber) -> None:
        super().__init__(f"bot {bot_id!r}: version {asked[:20]!r} is not served, version {serving} is")
        self.bot_id = bot_id
        self.serving = serving


class MisdirectedError(TerminalError):
    """The routing table gives the bot to other pools."""

    def __init__(self, bot_id: BotId, pool: PoolName, epoch: Epoch) -> None:
        super().__init__(f"bot {bot_id!r} is not in pool {pool} (routing table epoch {epoch}); route it again")
        self.bot_id = bot_id
        self.epoch = epoch


class PredictFailedError(TerminalError):
    """Model or processing raised on an input that fits the declaration."""

    def __init__(self, bot_id: BotId, reason: str) -> None:
        super().__init__(f"bot {bot_id!r} failed on this input: {reason}")
        self.bot_id = bot_id
        self.reason = reason


class SampleFailedError(TerminalError):
    """A bot does not answer the sample request that its author gave it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"its own sample request fails: {reason}")


class LoadFailedError(TransientError):
    """The last load of a bot failed, or it failed so recently that it is not tried again yet."""

    def __init__(self, bot_id: BotId, reason: str, *, retry_after_s: float) -> None:
        super().__init__(f"bot {bot_id!r} cannot be loaded: {reason}", retry_after_s=retry_after_s)
        self.bot_id = bot_id
        self.reason = reason


class NoRoomError(TransientError):
    """Until the deadline of a request there was no room for its bot: every bot in memory was in use."""

    def __init__(self, bot_id: BotId) -> None:
        super().__init__(
            f"bot {bot_id!r} waits for memory: every bot in it is in use; give the pool group more memory or replicas",
            retry_after_s=1.0,
        )
        self.bot_id = bot_id


class ModelNotReadyError(TransientError):
    """A bot's model is loaded and says of itself that it cannot answer now."""

    def __init__(self, bot_id: BotId, reason: str) -> None:
        super().__init__(f"bot {bot_id!r} is not ready: {reason}", retry_after_s=1.0)
        self.bot_id = bot_id


_LONGEST_HINT_S: Final = 30.0
"""Who should come again later than that is better off asking another replica, or there are more of them by then."""


class BotQueueFullError(TransientError):
    """A bot's own bound: its neighbours in the replica are served on."""

    def __init__(self, bot_id: BotId, present: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"bot {bot_id!r} has {present} requests waiting or running here, and may have no more",
            retry_after_s=min(retry_after_s, _LONGEST_HINT_S),
        )
        self.bot_id = bot_id


class QueueFullError(TransientError):
    """The replica's bound, whosever the requests are."""

    def __init__(self, present: int, *, retry_after_s: float) -> None:
        super().__init__(
            f"this replica has {present} requests waiting or running, and may have no more",
            retry_after_s=min(retry_after_s, _LONGEST_HINT_S),
        )


class TooLateError(TransientError):
    """The request could not begin before its deadline, so it is not kept waiting for that."""

    def __init__(self, *, wait_s: float, left_s: float) -> None:
        super().__init__(
            f"requests that wait already take about {wait_s:.3g} s, and this one has {left_s:.3g} s left",
            retry_after_s=min(wait_s, _LONGEST_HINT_S),
        )


class PoolNotReadyError(TransientError):
    """The replica cannot say yet, or not any more, which bots it has."""


class DeadlineExceededError(TransientError):
    """The time that the caller or the pool's group gives a request is over."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"not answered within {timeout_s:.3g} s")
        self.timeout_s = timeout_s


class GrpcUnavailableError(TerminalError):
    """The replica was told to serve gRPC, and what that needs cannot be imported."""


class SdkUnavailableError(TerminalError):
    """KServe's SDK cannot be imported here; inference does not need it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"KServe's SDK serves this, and cannot be imported here ({why}); inference is not affected")
