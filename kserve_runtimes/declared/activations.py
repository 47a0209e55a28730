"""What stands between two layers, in place, to the accuracy of float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from botshard.oip.tensors import Array

__all__ = ["ACTIVATIONS", "erf"]

_NUMERATOR: Final = (
    0.00022905065861350646, 0.0034082910107109506, 0.050955695062380861, 0.18520832239976145, 1.128379143519084,
)  # fmt: skip
_DENOMINATOR: Final = (
    -1.1791602954361697e-7, 0.000023547966471313185, 0.0010179625278914885, 0.014070470171167667,
    0.11098505178285362, 0.49746925110067538, 1.0,
)  # fmt: skip
_SATURATED: Final = 3.832506856900711
"""Where erf is 1 in float32."""
_SQRT_HALF: Final = np.float32(0.7071067811865476)


def _relu(values: Array) -> Array:
    result: Array = np.maximum(values, 0.0, out=values)
    return result


def _tanh(values: Array) -> Array:
    result: Array = np.tanh(values, out=values)
    return result


def erf(values: Array, /) -> Array:
    """The error function of float32: numpy has none. A rational function of x², within 4e-7 of it everywhere."""
    x = np.clip(values, -_SATURATED, _SATURATED)
    square = x * x
    above = _polynomial(_NUMERATOR, square)
    above *= x
    above /= _polynomial(_DENOMINATOR, square)
    return above


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Highest power first (Horner)."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += np.float32(coefficient)
    return total


def _gelu(values: Array) -> Array:
    gate = erf(values * _SQRT_HALF)
    gate += np.float32(1.0)
    gate *= np.float32(0.5)
    values *= gate
    return values


ACTIVATIONS: Final[Mapping[str, Callable[[Array], Array]]] = {"relu": _relu, "tanh": _tanh, "gelu": _gelu}
"""By the name in `bot.yaml`; each changes the array that it is given, and returns it."""
