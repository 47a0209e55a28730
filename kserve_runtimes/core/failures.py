"""Failed loads are remembered: the reason is told to everybody who asks, and the next try waits longer each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botshard.sharding.errors import TransientError
from botshard.sharding.ids import VersionNumber

__all__ = ["Failure", "next_failure"]

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0
"""A broken artifact costs one fetch a minute at most, and a repaired one is noticed within that."""
_LONGEST_TRANSIENT_WAIT_S: Final = 2.0
"""A store that comes back must be used again at once."""
_REASON_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failed load of a bot."""

    version: VersionNumber
    reason: str
    attempts: int
    """Failed loads of this version in a row."""
    retry_at_s: float
    """Monotonic instant before which it is not tried again."""


def next_failure(previous: Failure | None, version: VersionNumber, error: Exception, /, *, now_s: float) -> Failure:
    """The failure to remember after `error`, which came `now_s`."""
    attempts = previous.attempts + 1 if previous is not None and previous.version == version else 1
    longest_s = _LONGEST_TRANSIENT_WAIT_S if isinstance(error, TransientError) else _LONGEST_WAIT_S
    wait_s = min(_FIRST_WAIT_S * 2 ** (attempts - 1), longest_s) if attempts < 32 else longest_s
    return Failure(version, _reason(error), attempts, now_s + wait_s)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    # Our own errors are sentences; a library's need the name of their type to mean anything.
    if not type(error).__module__.startswith(("botshard.", "kserve_runtimes.")):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 1] + "…"
