"""Loads PyTorch models. Nothing of an artifact is executed: weights are numbers, programs are graphs of ops."""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.export

from botshard.bots.architectures import architecture_from_document
from botshard.oip.tensors import Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from kserve_runtimes.core.model import Model
from kserve_runtimes.declared.models import DeclaredModels, is_declared
from kserve_runtimes.torch.architectures import Dense, Forward, build
from kserve_runtimes.torch.weights import map_weights

__all__ = ["TorchFramework"]


class TorchFramework:
    """PyTorch on the CPU."""

    name = "torch"

    def __init__(self, *, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._declared = DeclaredModels()

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """The model; see `kserve_runtimes.core.model.Framework`."""
        for tensor in inputs:
            if tensor.datatype == "BYTES":
                expected = "turned into numbers by a preprocess step: PyTorch has no text tensors"
                raise InvalidDocumentError(f"bot {spec.id}", [Problem.of(f"inputs.{tensor.name}", "BYTES", expected)])
        if is_declared(spec):
            return self._declared.load(spec, folder, inputs)
        path = folder / str(spec.model["file"])
        if spec.model["format"] == "safetensors":
            return _load_declared(spec, path, inputs)
        return _load_program(spec, path)


class _Declared:
    """A declared architecture over the tensors of a safetensors file."""

    together = None

    def __init__(self, forward: Forward, footprint_bytes: int) -> None:
        self._forward = forward
        self._dense = forward if isinstance(forward, Dense) else None
        self.footprint_bytes = footprint_bytes

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """`{"output": (rows, columns)}`."""
        (array,) = inputs.values()
        dense = self._dense
        if dense is not None and len(array) <= dense.most_rows and array.dtype == np.float32:
            return {"output": dense.few(array)}
        with torch.inference_mode():
            return {"output": self._forward(_tensor(array)).numpy()}


class _Program:
    """A `torch.export` program."""

    together = None

    def __init__(self, program: torch.export.ExportedProgram, outputs: Sequence[str]) -> None:
        self._module = program.module()
        self._outputs = outputs
        constants = [value for value in program.constants.values() if isinstance(value, torch.Tensor)]
        tensors = [*program.state_dict.values(), *constants]
        self.footprint_bytes = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """The program's outputs, named by its own keys or in the declared order."""
        with torch.inference_mode():
            result = self._module(*(_tensor(array) for array in inputs.values()))
        if isinstance(result, torch.Tensor):
            return {"output": _array(result)}
        if isinstance(result, Mapping):
            return {str(name): _array(value) for name, value in result.items()}
        names = self._outputs if len(self._outputs) == len(result) else [f"output_{i}" for i in range(len(result))]
        return {name: _array(value) for name, value in zip(names, result, strict=True)}


def _load_declared(spec: BotSpec, path: Path, inputs: Sequence[TensorSpec]) -> Model:
    architecture = architecture_from_document(spec.model["architecture"])
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        expected = f"one tensor for the model, which is what {architecture.kind} takes"
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("inputs", names, expected)])
    weights = map_weights(path)
    forward = build(architecture, weights, input_name=inputs[0].name)
    return _Declared(forward, sum(tensor.nbytes for tensor in weights.values()))


def _load_program(spec: BotSpec, path: Path) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations within the loader, which its caller cannot act upon
        program = torch.export.load(path)
        loaded = _Program(program, [output.name for output in spec.outputs])
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


def _tensor(array: Array) -> torch.Tensor:
    # Binary inputs are read-only views of the request's body; PyTorch wants memory that it might write to.
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def _array(value: Any) -> Array:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"the program gives {type(value).__name__}, not a tensor")
    array: Array = (value.float() if value.dtype is torch.bfloat16 else value).numpy()
    return array
