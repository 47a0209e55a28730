"""Bots of declared architectures on a device: weights there, and one batch of all whose networks have equal shape.

The same as `kserve_runtimes.declared`, which is what the CPU uses, with PyTorch in numpy's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import torch

from botshard.bots.architectures import EmbeddingBag
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from kserve_runtimes.core.model import Model, Together
from kserve_runtimes.declared.declaration import declared_architecture, dense_layers
from kserve_runtimes.torch.architectures import Bag, Dense, each_its_own
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.weights import map_weights

__all__ = ["DeviceModels"]


class DeviceModels:
    """Loads them; keeps nothing but what models that are loaded have in common."""

    def __init__(self, device: Device, /) -> None:
        self._device = device
        self._together: WeakValueDictionary[object, _EqualNetworks] = WeakValueDictionary()
        self._lock = Lock()

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """See `kserve_runtimes.core.model.Framework`; the model is weights of a declared architecture."""
        architecture = declared_architecture(spec, inputs)
        mapped = map_weights(folder / str(spec.model["file"]))
        weights = {name: self._device.place(tensor) for name, tensor in mapped.items()}
        bag = None
        if isinstance(architecture, EmbeddingBag):
            bag = Bag(architecture, weights["embedding.weight"], input_name=inputs[0].name)
        layers, activation = dense_layers(architecture, weights)
        dense = Dense(layers, activation=activation)
        with self._lock:
            together = self._together.setdefault(dense.shape, _EqualNetworks(self._device))
        footprint_bytes = sum(tensor.nbytes for tensor in weights.values())
        return _DeviceModel(bag, dense, together, self._device, footprint_bytes)


class _DeviceModel:
    """A declared architecture over tensors of the device."""

    __slots__ = ("_bag", "_device", "dense", "footprint_bytes", "together")

    def __init__(self, bag: Bag | None, dense: Dense, together: Together, device: Device, footprint_bytes: int) -> None:
        self._bag = bag
        self._device = device
        self.dense = dense
        self.together = together
        self.footprint_bytes = footprint_bytes
        """Of the device's memory, where it has its own."""

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """`{"output": (rows, columns)}`."""
        with torch.inference_mode():
            return {"output": self._device.get(self.dense(self.rows(inputs)))}

    def rows(self, inputs: Mapping[str, Array], /) -> torch.Tensor:
        """What the dense layers take, on the device. Raises: InvalidInputError."""
        (array,) = inputs.values()
        tensor = self._device.put(array)
        return tensor.float() if self._bag is None else self._bag(tensor)


class _EqualNetworks:
    """Networks of one shape, whosever they are."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def predict(
        self, models: Sequence[Model], inputs: Sequence[Mapping[str, Array]], /
    ) -> Sequence[Mapping[str, Array] | Exception]:
        """See `kserve_runtimes.core.model.Together`: one product a bot, or all single rows layer by layer."""
        results: list[Mapping[str, Array] | Exception] = [{}] * len(models)
        rows_of: dict[Dense, list[tuple[int, torch.Tensor]]] = {}
        with torch.inference_mode():
            for index, (model, given) in enumerate(zip(models, inputs, strict=True)):
                assert isinstance(model, _DeviceModel)  # noqa: S101 - no other has this as `together`
                try:
                    rows_of.setdefault(model.dense, []).append((index, model.rows(given)))
                except Exception as error:  # noqa: BLE001 - of these rows alone
                    results[index] = error
            computed = [(_outputs(dense, found), found) for dense, found in rows_of.items() if not _is_single(found)]
            single = [(dense, found[0]) for dense, found in rows_of.items() if _is_single(found)]
            if single:
                rows = torch.cat([rows for _, (_, rows) in single])
                computed.append((each_its_own([dense for dense, _ in single], rows), [found for _, found in single]))
            for outputs, found in computed:
                array = self._device.get(outputs)
                begin = 0
                for index, rows in found:
                    results[index] = {"output": array[begin : begin + len(rows)]}
                    begin += len(rows)
        return results


def _is_single(found: Sequence[tuple[int, torch.Tensor]]) -> bool:
    return len(found) == 1 and len(found[0][1]) == 1


def _outputs(dense: Dense, found: Sequence[tuple[int, torch.Tensor]]) -> torch.Tensor:
    return dense(torch.cat([rows for _, rows in found]))
