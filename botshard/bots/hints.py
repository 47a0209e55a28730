"""What a person probably meant: the near names that an error message offers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["known_names", "near_names"]

_SHOWN_NAMES = 16


def near_names(value: object, known: Iterable[str], /, count: int = 3) -> list[str]:
    """Up to `count` of the `known` names that look like `value`, the nearest first; case does not count."""
    if not isinstance(value, str):
        return []
    by_lower = {name.lower(): name for name in known}
    return [by_lower[match] for match in get_close_matches(value.lower(), by_lower, n=count, cutoff=0.6)]


def known_names(value: object, known: Iterable[str], /) -> str:
    """`one of a, b, c (did you mean b?)`: what would be right where `value` stands, as the end of "must be …"."""
    names = sorted(known)
    shown = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    near = near_names(value, names, count=1)
    return f"one of {shown}" + (f" (did you mean {near[0]}?)" if near else "")
