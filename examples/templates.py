"""Short templates for many phrases: `how (much|many) bags can i take to {city}`.

- `(a|b|)` stands for one of its options, which may be empty; options do not nest.
- `{name}` stands for one of the values of a slot, also inside of options. Where one slot stands twice in a phrase, its
  two values differ: nobody flies from rome to rome.

`expand` gives all phrases of a template, always in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final

from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = ["expand"]

# Splitting by these leaves what is fixed at even places and what is chosen at odd ones.
_CHOICE: Final = re.compile(r"\(([^()]*)\)")
_SLOT: Final = re.compile(r"\{([^{}]*)\}")
_GAP_BEFORE_MARK: Final = re.compile(r"\s+([,.?!])")


def expand(template: str, slots: Mapping[str, Sequence[str]]) -> list[str]:
    """All phrases of `template`, each once.

    Raises: InvalidDocumentError for a slot without values, or brackets that do not pair.
    """
    pieces = _CHOICE.split(template)
    options = [piece.split("|") if index % 2 else [piece] for index, piece in enumerate(pieces)]
    phrases: dict[str, None] = {}
    for chosen in product(*options):
        for phrase in _fill("".join(chosen), slots):
            if set(phrase) & set("(){}|"):
                raise InvalidDocumentError("phrases", [Problem.of("", template, "a template whose brackets pair")])
            phrases[phrase] = None
    return list(phrases)


def _fill(text: str, slots: Mapping[str, Sequence[str]]) -> Iterator[str]:
    pieces = _SLOT.split(text)
    names = pieces[1::2]
    for name in names:
        if not slots.get(name):
            raise InvalidDocumentError("phrases", [Problem.of(f"slots.{name}", None, f"there: used in {text!r}")])
    for values in product(*(slots[name] for name in names)):
        if len(set(zip(names, values, strict=True))) == len(names):
            yield _tidy("".join(_interleave(pieces[::2], values)))


def _interleave(fixed: Sequence[str], values: Sequence[str]) -> Iterator[str]:
    for before, value in zip(fixed, values, strict=False):
        yield before
        yield value
    yield fixed[-1]


def _tidy(text: str) -> str:
    """Without the gaps that empty options leave."""
    return _GAP_BEFORE_MARK.sub(r"\1", " ".join(text.split()))
