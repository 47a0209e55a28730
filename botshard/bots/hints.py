"""What a person probably meant: the near names that an error message offers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["known_names", "near_names"]

_SHOWN_NAMES = 16
_MOST_LENGTH_DIFFERENCE = 6
_SHORT = 8


def near_names(value: object, known: Iterable[str], /, count: int = 3) -> list[str]:
    """Up to `count` of the `known` names that look like `value`, the nearest first; case does not count."""
    if not isinstance(value, str):
        return []
    wanted = value.lower()
    by_lower = {name.lower(): name for name in known if _may_be_near(name, wanted)}
    return [by_lower[match] for match in get_close_matches(value.lower(), by_lower, n=count, cutoff=0.6)]


def _may_be_near(name: str, wanted: str) -> bool:
    """Whether a close look is worth it: difflib takes 40 µs a name, and a catalog may hold half a million.

    Of two names of which one is a slip of the other, the lengths are near and either end is the same.
    """
    if abs(len(name) - len(wanted)) > _MOST_LENGTH_DIFFERENCE:
        return False
    lower = name.lower()
    return lower[:2] == wanted[:2] or lower[-3:] == wanted[-3:] or len(wanted) <= _SHORT


def known_names(value: object, known: Iterable[str], /) -> str:
    """`one of a, b, c (did you mean b?)`: what would be right where `value` stands, as the end of "must be …"."""
    names = sorted(known)
    shown = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    near = near_names(value, names, count=1)
    return f"one of {shown}" + (f" (did you mean {near[0]}?)" if near else "")
