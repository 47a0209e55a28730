"""Lengths of n-grams as a parameter."""

from __future__ import annotations

from typing import Annotated, Any, Final

from botshard.processing.parameters import Reads

__all__ = ["MAX_NGRAM", "Range"]

MAX_NGRAM: Final = 8


def _range(value: Any) -> Any:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(item) is int for item in value)
        and 1 <= value[0] <= value[1] <= MAX_NGRAM
    ):
        return tuple(value)
    raise ValueError(f"[shortest, longest], whole numbers with 1 <= shortest <= longest <= {MAX_NGRAM}")


Range = Annotated[tuple[int, int], Reads(_range)]
"""`[shortest, longest]` n-gram."""
