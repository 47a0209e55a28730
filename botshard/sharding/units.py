"""Bytes and durations as people write them, and back. The only place that does this arithmetic."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["GIBIBYTE", "KIBIBYTE", "MEBIBYTE", "format_bytes", "format_duration_s", "parse_bytes", "parse_duration_s"]

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
GIBIBYTE = 1024 * MEBIBYTE

# At most 18 figures: beyond that it is a slip of the pen, and a float of it may be infinite.
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)([A-Za-z]*)\Z")
# Kubernetes' suffixes (resource.Quantity), so that a number can be copied from a manifest.
_BYTE_UNITS = {
    "": 1,
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "Ki": KIBIBYTE,
    "Mi": MEBIBYTE,
    "Gi": GIBIBYTE,
    "Ti": 1024 * GIBIBYTE,
}
_SECOND_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_bytes(text: str | int, /) -> int:
    """Bytes in a quantity such as `512Mi`, `2G`, `1048576`.

    Raises: ValueError with what would be right.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError("a number of bytes such as 512Mi, not negative")
        return text
    match = _QUANTITY.match(str(text).strip())
    if match is None or match[2] not in _BYTE_UNITS:
        raise ValueError("a number of bytes such as 512Mi, 2Gi or 1048576 (units k, M, G, T, Ki, Mi, Gi, Ti)")
    return int(Decimal(match[1]) * _BYTE_UNITS[match[2]])


def parse_duration_s(text: str | float, /) -> float:
    """Seconds in a duration such as `500ms`, `30s`, `5m`, `2h`, or a bare number of seconds.

    Raises: ValueError with what would be right.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        if not 0 <= text < float("inf"):
            raise ValueError("a duration such as 30s, neither negative nor endless")
        return float(text)
    match = _QUANTITY.match(str(text).strip())
    unit = match[2] if match else ""
    if match is None or (unit and unit not in _SECOND_UNITS):
        raise ValueError("a duration such as 500ms, 30s, 5m or 2h")
    return float(match[1]) * _SECOND_UNITS.get(unit, 1.0)


def format_bytes(count_bytes: float, /) -> str:
    """`417 B`, `12.3 KiB`, `4.0 MiB`: less than 1024 of a unit, one figure after the point."""
    size = float(count_bytes)
    if abs(size) < KIBIBYTE:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= KIBIBYTE
        if round(abs(size), 1) < KIBIBYTE:
            return f"{size:.1f} {unit}"
    return f"{size / KIBIBYTE:.1f} TiB"


def format_duration_s(duration_s: float, /) -> str:
    """`850 µs`, `12 ms`, `3.4 s`, `2 min 5 s`."""
    if round(duration_s * 1e6) < 1000:
        return f"{duration_s * 1e6:.0f} µs"
    if round(duration_s * 1e3) < 1000:
        return f"{duration_s * 1e3:.0f} ms"
    if round(duration_s, 1) < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
