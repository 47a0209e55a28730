"""Loads bots of declared architectures, and runs those of equal shape in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import numpy as np

from botshard.bots.architectures import EmbeddingBag
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from kserve_runtimes.core.model import Model, Together
from kserve_runtimes.declared.declaration import declared_architecture, dense_layers
from kserve_runtimes.declared.networks import Bag, Dense, each_its_own
from kserve_runtimes.declared.weights import map_arrays

__all__ = ["DeclaredModels", "is_declared"]

_FLOAT = np.dtype(np.float32)


def is_declared(spec: BotSpec, /) -> bool:
    """Whether a bot's model is weights of a declared architecture and nothing else."""
    return spec.model["format"] == "safetensors" and spec.backbone is None


class DeclaredModels:
    """Loads them; keeps nothing but what models that are loaded have in common."""

    def __init__(self) -> None:
        self._together: WeakValueDictionary[object, _EqualNetworks] = WeakValueDictionary()
        self._lock = Lock()

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """See `kserve_runtimes.core.model.Framework`; `is_declared` holds for `spec`."""
        architecture = declared_architecture(spec, inputs)
        weights = map_arrays(folder / str(spec.model["file"]))
        bag = None
        if isinstance(architecture, EmbeddingBag):
            bag = Bag(architecture, weights["embedding.weight"], input_name=inputs[0].name)
        layers, activation = dense_layers(architecture, weights)
        dense = Dense(layers, activation=activation)
        with self._lock:
            together = self._together.setdefault(dense.shape, _EqualNetworks())
        return _DeclaredModel(bag, dense, together, sum(array.nbytes for array in weights.values()))


class _DeclaredModel:
    """A declared architecture over the arrays of a safetensors file."""

    __slots__ = ("_bag", "dense", "footprint_bytes", "together")

    def __init__(self, bag: Bag | None, dense: Dense, together: Together, footprint_bytes: int) -> None:
        self._bag = bag
        self.dense = dense
        self.together = together
        self.footprint_bytes = footprint_bytes

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """`{"output": (rows, columns)}`."""
        return {"output": self.dense(self.rows(inputs))}

    def rows(self, inputs: Mapping[str, Array], /) -> Array:
        """What the dense layers take. Raises: InvalidInputError."""
        (array,) = inputs.values()
        return array.astype(_FLOAT, copy=False) if self._bag is None else self._bag(array)


class _EqualNetworks:
    """Networks of one shape, whosever they are."""

    def predict(
        self, models: Sequence[Model], inputs: Sequence[Mapping[str, Array]], /
    ) -> Sequence[Mapping[str, Array] | Exception]:
        """See `kserve_runtimes.core.model.Together`: one product a bot, or all single rows layer by layer."""
        results: list[Mapping[str, Array] | Exception] = [{}] * len(models)
        rows_of: dict[Dense, list[tuple[int, Array]]] = {}
        for index, (model, given) in enumerate(zip(models, inputs, strict=True)):
            assert isinstance(model, _DeclaredModel)  # noqa: S101 - no other has this as `together`
            try:
                rows = model.rows(given)
            except Exception as error:  # noqa: BLE001 - of these rows alone
                results[index] = error
                continue
            rows_of.setdefault(model.dense, []).append((index, rows))
        networks: list[Dense] = []
        single: list[Array] = []
        places: list[int] = []
        for dense, found in rows_of.items():
            if len(found) == 1 and len(found[0][1]) == 1:
                ((place, rows),) = found
                networks.append(dense)
                single.append(rows[0])
                places.append(place)
                continue
            outputs = dense(np.concatenate([rows for _, rows in found]))
            begin = 0
            for place, rows in found:
                results[place] = {"output": outputs[begin : begin + len(rows)]}
                begin += len(rows)
        if networks:
            outputs = each_its_own(networks, single)
            for row, place in enumerate(places):
                results[place] = {"output": outputs[row : row + 1]}
        return results
