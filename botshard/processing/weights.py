"""From counts to features: what the vectorisers do with how often something occurs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Norm", "Weights", "normalise", "weigh"]

Weights = Literal["counts", "binary", "log", "frequency"]
Norm = Literal["l2", "none"]


def weigh(counts: NDArray[np.float32], weights: Weights) -> None:
    """Turns counts `(rows, features)` into weights, in place; counts may be negative where they are signed.

    `binary`: the sign; `log`: the sign times ln(1 + |count|); `frequency`: divided by the row's sum of |count|.
    """
    match weights:
        case "binary":
            np.sign(counts, out=counts)
        case "log":
            np.copyto(counts, np.sign(counts) * np.log1p(np.abs(counts)))
        case "frequency":
            _divide(counts, np.abs(counts).sum(axis=1))
        case "counts":
            pass


def normalise(features: NDArray[np.float32], norm: Norm) -> None:
    """Scales each row to Euclidean length 1, in place; rows of zeros stay zeros."""
    if norm == "l2":
        _divide(features, np.sqrt(np.einsum("ij,ij->i", features, features)))


def _divide(features: NDArray[np.float32], divisors: NDArray[np.float32]) -> None:
    divisors[divisors == 0] = 1
    np.divide(features, divisors[:, None], out=features)
