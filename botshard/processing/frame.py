"""One batch on its way through the steps: named columns, one value or vector a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array
from botshard.processing.errors import ModelOutputError

__all__ = ["MAX_TEXT_CHARS", "Frame", "check_lengths"]

MAX_TEXT_CHARS: Final = 16_384
"""Longest text that steps take, and make: a replacement may look at the rest of a text again for every match, and
may make the text longer each time."""


@dataclass(slots=True)
class Frame:
    """The columns that steps read and write. Rows are independent of each other."""

    rows: int
    texts: dict[str, list[str]] = field(default_factory=dict)
    """One text a row: before the model its text inputs as far as they are processed, after it the labels."""
    tensors: dict[str, Array] = field(default_factory=dict)
    """`(rows, ...)`: before the model what it will get, after it what steps made; several texts a row are an array of
    `str` objects."""
    given: Mapping[str, Array] = field(default_factory=dict)
    """After the model: what it gave."""
    asked: dict[str, list[str]] = field(default_factory=dict)
    """After the model: the text inputs as the client sent them."""

    def put_texts(self, name: str, texts: list[str]) -> None:
        """Replaces a column of texts. Raises: InvalidInputError when one became too long."""
        check_lengths(name, texts)
        self.texts[name] = texts

    def scores(self, name: str | None, /, *, classes: int | None = None) -> np.ndarray[Any, np.dtype[Any]]:
        """A `(rows, classes)` tensor of finite numbers; None: the model's only output.

        Args:
            name: of a column or a model output.
            classes: how many there must be; None: any number.

        Raises: ModelOutputError.
        """
        array = self.tensor(name)
        shown = "the model's output" if name is None else f"{name!r}"
        if array.ndim != 2 or array.shape[0] != self.rows or array.dtype.kind not in "fiu":
            raise ModelOutputError(
                f"{shown} must be numbers of shape [{self.rows}, classes], found {array.dtype} {list(array.shape)}"
            )
        if classes not in (None, array.shape[1]):
            raise ModelOutputError(f"{shown} has {array.shape[1]} scores a row, but {classes} labels are declared")
        if not np.isfinite(array).all():
            raise ModelOutputError(f"{shown} holds NaN or an infinity")
        return array

    def tensor(self, name: str | None, /) -> Array:
        """What a step made or the model gave under a name; None: the model's only output. Raises: ModelOutputError."""
        if name is None:
            if len(self.given) != 1:
                raise ModelOutputError(
                    f"the model has the outputs {', '.join(self.given) or 'none'}; a step must name one (input)"
                )
            return next(iter(self.given.values()))
        array = self.tensors.get(name)
        if array is None:
            array = self.given.get(name)
        if array is None:
            raise ModelOutputError(f"the model has no output {name!r}; it has {', '.join(self.given) or 'none'}")
        return array


def check_lengths(name: str, texts: list[str]) -> None:
    """Checks that no text of an input is, or became, too long. Raises: InvalidInputError."""
    if max(map(len, texts), default=0) > MAX_TEXT_CHARS:
        row = next(row for row, text in enumerate(texts) if len(text) > MAX_TEXT_CHARS)
        raise InvalidInputError(
            name, f"the text of row {row} has {len(texts[row])} characters; at most {MAX_TEXT_CHARS} are taken"
        )
