"""Loads PyTorch models. Nothing of an artifact is executed: weights are numbers, programs are graphs of ops."""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import torch.export

from botshard.bots.architectures import architecture_from_document
from botshard.bots.backbones import Backbones
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from kserve_runtimes.core.model import Model
from kserve_runtimes.declared.models import DeclaredModels, is_declared
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.device_models import DeviceModels
from kserve_runtimes.torch.encoder import Encoder, Head

__all__ = ["TorchFramework"]


class TorchFramework:
    """PyTorch on the CPU or on a GPU."""

    name = "torch"

    def __init__(self, *, threads: int, device: str = "cpu", encoding_cache_bytes: int = 0) -> None:
        """Choose the device.

        Args:
            threads: that an operation may use.
            device: `auto`, `cpu` or `cuda`.
            encoding_cache_bytes: bound on what each backbone remembers; 0: nothing.

        Raises: InvalidDocumentError for `cuda` where there is none.
        """
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._device = Device(device)
        # Numpy is faster on the CPU, and needs no framework.
        self._declared = DeviceModels(self._device) if self._device.is_cuda else DeclaredModels()
        self._encoding_cache_bytes = encoding_cache_bytes
        self._encoders: dict[str, Encoder] = {}
        self._loading = Lock()

    @property
    def shared_bytes(self) -> int:
        """Measured bytes of the backbones in memory."""
        return sum(encoder.footprint_bytes for encoder in tuple(self._encoders.values()))

    @property
    def device_bytes(self) -> int | None:
        """Bytes of a GPU's memory in use; None on the CPU."""
        return self._device.used_bytes

    @property
    def device_free_bytes(self) -> int | None:
        """Bytes of the GPU's memory that nobody uses; None on the CPU."""
        return self._device.free_bytes

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """The model; see `kserve_runtimes.core.model.Framework`."""
        for tensor in inputs:
            if tensor.datatype == "BYTES":
                expected = "turned into numbers by a preprocess step: PyTorch has no text tensors"
                raise InvalidDocumentError(f"bot {spec.id}", [Problem.of(f"inputs.{tensor.name}", "BYTES", expected)])
        if is_declared(spec):
            return self._declared.load(spec, folder, inputs)
        return _load_program(spec, folder / str(spec.model["file"]), self._device)

    def load_head(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec], *, backbones: Backbones) -> Model:
        """The network over its backbone; see `kserve_runtimes.core.model.HeadFramework`."""
        if [tensor.datatype for tensor in inputs] != ["BYTES"]:
            names = ", ".join(f"{tensor.name}: {tensor.datatype}" for tensor in inputs)
            expected = f"one text, which is what backbone {spec.backbone} takes"
            raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("inputs", names, expected)])
        encoder = self._encoder(str(spec.backbone), backbones)
        takes = architecture_from_document(spec.model.get("architecture")).input_shape
        if takes != (-1, encoder.width):
            expected = f"one over the {encoder.width} numbers that backbone {encoder.name} makes of a text"
            raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("model.architecture", list(takes), expected)])
        encoding = TensorSpec("encoding", "FP32", (-1, encoder.width))
        return Head(encoder, self._declared.load(spec, folder, (encoding,)))

    def _encoder(self, name: str, backbones: Backbones) -> Encoder:
        """Loaded once, whichever thread is first; a failure is that bot's, and the next tries again."""
        with self._loading:
            encoder = self._encoders.get(name)
            if encoder is None:
                with backbones.use(name) as files:
                    encoder = Encoder(files, self._device, cache_bytes=self._encoding_cache_bytes)
                    encoder.encode(["hello"])  # reads the weights, so that no request has to wait for that
                self._encoders[name] = encoder
            return encoder


class _Program:
    """A `torch.export` program."""

    together = None

    def __init__(self, program: torch.export.ExportedProgram, outputs: Sequence[str], device: Device) -> None:
        self._module = program.module()
        self._device = device
        self._outputs = outputs
        constants = [value for value in program.constants.values() if isinstance(value, torch.Tensor)]
        tensors = [*program.state_dict.values(), *constants]
        self.footprint_bytes = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """The program's outputs, named by its own keys or in the declared order."""
        with torch.inference_mode():
            result = self._module(*(self._device.put(array) for array in inputs.values()))
        if isinstance(result, torch.Tensor):
            return {"output": _array(result)}
        if isinstance(result, Mapping):
            return {str(name): _array(value) for name, value in result.items()}
        names = self._outputs if len(self._outputs) == len(result) else [f"output_{i}" for i in range(len(result))]
        return {name: _array(value) for name, value in zip(names, result, strict=True)}


def _load_program(spec: BotSpec, path: Path, device: Device) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations within the loader, which its caller cannot act upon
        program = torch.export.load(path)
        if device.is_cuda:
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device.torch)
        loaded = _Program(program, [output.name for output in spec.outputs], device)
    _forget_loading()
    return loaded


def _forget_loading() -> None:
    """Empty what PyTorch remembers of each program that it loads, for good: some 20 KiB a load.

    These are a cache of operations on tensors without data, and the generated source that tracebacks show.
    """
    with suppress(ImportError, AttributeError):  # nothing public empties these, and another version may have none
        # Loading has imported them already, but without a program nobody should pay for that.
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.fx import graph_module
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        FakeTensorMode.cache_clear()
        for method in vars(ShapeEnv).values():
            if hasattr(method, "cache_clear"):
                method.cache_clear()
        graph_module._loader.eval_cache.clear()  # noqa: SLF001
    for name in [name for name in tuple(linecache.cache) if name.startswith("<eval_with_key>")]:
        linecache.cache.pop(name, None)


def _array(value: Any) -> Array:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"the program gives {type(value).__name__}, not a tensor")
    array: Array = (value.float() if value.dtype is torch.bfloat16 else value).cpu().numpy()
    return array
