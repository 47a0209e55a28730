"""How long a caller still waits, as each protocol writes it, and what of that the next hop is told. Pure.

REST carries the seconds that are left in `X-Request-Timeout`, gRPC in `grpc-timeout`: durations, never instants, so
that no two clocks have to agree. Whoever forwards a request writes what is left of it then, cut by what the way there
and back may take: the far side gives up first, and its answer, that it did, still comes in time.
"""

from __future__ import annotations

from math import inf
from typing import Final

__all__ = [
    "DIRECT_HOP_S",
    "GATEWAY_HOP_S",
    "TIMEOUT_FORM",
    "for_next_hop",
    "format_grpc_timeout",
    "read_grpc_timeout",
    "read_timeout",
]

TIMEOUT_FORM: Final = "X-Request-Timeout must be a number of seconds over 0, such as 2.5"
"""For messages; what was found follows."""

DIRECT_HOP_S: Final = 0.002
"""What a connection from process to process may take both ways."""
GATEWAY_HOP_S: Final = 0.01
"""The same where a gateway, perhaps an activator, and a queue-proxy are on the way."""

_MOST_OF_IT: Final = 0.05
"""A hop never takes more than this share of what is left: a short deadline is not eaten up by the cuts."""

_UNITS: Final = ((b"n", 1e-9), (b"u", 1e-6), (b"m", 1e-3), (b"S", 1.0), (b"M", 60.0), (b"H", 3600.0))
_UNITS_S: Final = dict(_UNITS)
_MAX_DIGITS: Final = 8
_MAX_COUNT: Final = 99_999_999
_ROUNDING: Final = 1e-9
"""Relative: 0.3 s is 300 ms, though 0.3 / 0.001 is a hair less in binary."""


def read_timeout(value: bytes, /) -> float | None:
    """Seconds in an `X-Request-Timeout`; None: it is not of `TIMEOUT_FORM`."""
    try:
        timeout_s = float(value)
    except ValueError:
        return None
    return timeout_s if 0.0 < timeout_s < inf else None


def for_next_hop(left_s: float, hop_s: float, /) -> float:
    """What the next hop is told of the seconds that are left here, if going there and back takes `hop_s`."""
    if hop_s > left_s * _MOST_OF_IT:
        return left_s * (1.0 - _MOST_OF_IT)
    return left_s - hop_s


def read_grpc_timeout(value: bytes, /) -> float | None:
    """Seconds in a `grpc-timeout`; None: it is not one. Zero is one: the caller's time was up when it asked.

    The form is that of the gRPC protocol over HTTP/2: up to eight digits and a unit, without anything between.
    """
    digits, unit_s = value[:-1], _UNITS_S.get(value[-1:])
    if unit_s is None or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return int(digits) * unit_s


def format_grpc_timeout(left_s: float, /) -> bytes:
    """A `grpc-timeout` in the finest unit that has room; never longer than `left_s`, and never nothing.

    Time that is up is written as a nanosecond, as gRPC's own clients do: the far side answers that at once.
    """
    for unit, unit_s in _UNITS:
        count = left_s / unit_s * (1.0 + _ROUNDING)
        if count < _MAX_COUNT + 1:
            return b"%d%b" % (max(int(count), 1), unit) if left_s > 0 else b"1n"
    return b"%dH" % _MAX_COUNT
