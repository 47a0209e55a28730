"""Rows of several requests to one bot, in one batch: for models whose rows are known not to depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from botshard.oip.tensors import Array
from kserve_runtimes.core.model import Model

__all__ = ["OneModel"]


class OneModel:
    """`Together` of one model: its own object for each."""

    def predict(
        self, models: Sequence[Model], inputs: Sequence[Mapping[str, Array]], /
    ) -> Sequence[Mapping[str, Array] | Exception]:
        """See `kserve_runtimes.core.model.Together`.

        Raises: whatever the model raises, and ValueError where rows do not fit together (sizes that are free): then
            whoever called runs them one by one.
        """
        counts = [len(next(iter(given.values()))) for given in inputs]
        rows = sum(counts)
        joined = {name: np.concatenate([given[name] for given in inputs]) for name in inputs[0]}
        outputs = models[0].predict(joined)
        for name, array in outputs.items():
            if len(array) != rows:
                raise ValueError(f"output {name!r} has {len(array)} rows for {rows}")
        results: list[Mapping[str, Array]] = []
        begin = 0
        for count in counts:
            results.append({name: array[begin : begin + count] for name, array in outputs.items()})
            begin += count
        return results
