"""Loads ONNX graphs, each into a session of ONNX Runtime of its own.

Sessions are set for a process with a thousand of them: no threads of their own, no arena that keeps what a large batch
took, no log. A call is `run` with arrays; binding inputs and outputs beforehand was measured to save nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from botshard.bots.onnx_file import linear_onnx_bytes
from botshard.bots.onnx_model import external_files, load_onnx
from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import DATATYPES, Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from kserve_runtimes.core.malloc import allocated_bytes
from kserve_runtimes.core.model import Model, Together
from kserve_runtimes.core.one_model import OneModel
from kserve_runtimes.onnx.quiet import ort
from kserve_runtimes.onnx.rows import are_rows_independent

__all__ = ["OnnxFramework"]

_TYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(double)": "FP64",
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
    "tensor(string)": "BYTES",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
_PROVIDERS: Final = ("CPUExecutionProvider",)
_SESSION_BYTES: Final = 80 << 10
"""What a session takes without weights."""
_TIMES_ITS_FILE: Final = 12
"""Trees, which ONNX Runtime unpacks most, take up to seven times their file; more than this is somebody else's."""

Convert = Callable[[str, Array], Array]


class OnnxFramework:
    """ONNX Runtime on the CPU."""

    name = "onnx"

    def __init__(self, *, threads: int) -> None:
        self._options = ort.SessionOptions()
        self._options.log_severity_level = 4
        self._options.enable_cpu_mem_arena = False  # an arena never shrinks, and measured it saves nothing a row
        self._options.add_session_config_entry("session.load_model_format", "ONNX")  # never by how the file begins
        if threads == 1:
            self._options.intra_op_num_threads = 1  # the caller's own
            self._options.inter_op_num_threads = 1
        else:
            ort.set_global_thread_pool_sizes(threads, 1)  # one set of threads, not one a bot
            self._options.use_per_session_threads = False
        self._measuring = threading.Lock()
        # What the first session of a process allocates for all is not the first bot's.
        ort.InferenceSession(linear_onnx_bytes([[1.0]]), self._options, providers=_PROVIDERS, enable_fallback=0)

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """The model; see `kserve_runtimes.core.model.Framework`."""
        path = folder / str(spec.model["file"])
        session, footprint_bytes = self._open(path)
        takes = {value.name: value.type for value in session.get_inputs()}
        names = _match(spec, inputs, list(takes))
        for name, kind in takes.items():
            if kind not in _TYPES:
                raise _refused(spec, "model.file", f"the input {name!r} of type {kind}", "a graph of tensors")
        gives = [value.name for value in session.get_outputs()]
        outputs = [output.name for output in spec.outputs]
        # Without steps after it only what is declared is computed; a lone output may have any name.
        wanted = outputs if not spec.postprocess and set(outputs) <= set(gives) else gives
        feeds = [(own, name, _converter(_TYPES[takes[name]])) for own, name in names.items()]
        graph = load_onnx(path).graph
        together = OneModel() if graph is not None and are_rows_independent(graph) else None
        return _Session(session, feeds, wanted, footprint_bytes, together)

    def _open(self, path: Path) -> tuple[Any, int]:
        """A session, and the bytes that it took: one at a time, so that another one's are not counted."""
        file_bytes = sum(file.stat().st_size for file in (path, *external_files(path)))
        with self._measuring:
            before = allocated_bytes()
            session = ort.InferenceSession(path, self._options, providers=_PROVIDERS, enable_fallback=0)
            after = allocated_bytes()
        if before is None or after is None:
            return session, 2 * file_bytes + _SESSION_BYTES
        # Other threads allocate meanwhile, and free: within bounds that a session cannot leave.
        return session, min(max(after - before, file_bytes), _TIMES_ITS_FILE * file_bytes + 2 * _SESSION_BYTES)


class _Session:
    """A graph in a session."""

    def __init__(
        self,
        session: Any,
        feeds: Sequence[tuple[str, str, Convert]],
        outputs: Sequence[str],
        footprint_bytes: int,
        together: Together | None,
    ) -> None:
        self.together = together
        self._session = session
        self._feeds = feeds
        self._outputs = list(outputs)
        self.footprint_bytes = footprint_bytes

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """The graph's outputs, by its own names for them."""
        feeds = {name: convert(own, inputs[own]) for own, name, convert in self._feeds}
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))


def _match(spec: BotSpec, inputs: Sequence[TensorSpec], takes: Sequence[str]) -> Mapping[str, str]:
    """The graph's name for each input: by name, or the only one for the only one."""
    names = [tensor.name for tensor in inputs]
    if len(names) == len(takes) == 1:
        return {names[0]: takes[0]}
    if set(names) != set(takes):
        raise _refused(spec, "inputs", ", ".join(names), f"what the model takes: {', '.join(takes)}")
    return {name: name for name in names}


def _converter(datatype: str) -> Convert:
    """What makes an array into what the graph takes."""
    if datatype == "BYTES":
        return _texts
    dtype = DATATYPES[datatype]
    if dtype.kind == "i":
        limits = np.iinfo(dtype)

        def whole(name: str, array: Array) -> Array:
            if array.dtype != dtype and array.size and not limits.min <= array.min() <= array.max() <= limits.max:
                raise InvalidInputError(name, f"data must lie in {limits.min} … {limits.max}")
            return array.astype(dtype, copy=False)

        return whole
    return lambda _, array: array.astype(dtype, copy=False)


def _texts(name: str, array: Array) -> Array:
    """Texts as ONNX Runtime takes them."""
    texts = np.empty(array.size, dtype=object)
    try:
        texts[:] = [value.decode() if isinstance(value, bytes) else value for value in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidInputError(name, "text must be UTF-8") from error
    return texts.reshape(array.shape)


def _refused(spec: BotSpec, field: str, found: str, expected: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"bot {spec.id}", [Problem(field, found, expected)])
