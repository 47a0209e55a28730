"""Loads TensorFlow models in their safe modes, and runs them as one traced graph each.

A call of a Keras model costs Python for each layer; its traced graph costs one dispatch. Tracing also proves at load
that the model takes what its bot declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from botshard.oip.tensors import DATATYPES, Array
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from kserve_runtimes.core.model import Model, Together
from kserve_runtimes.core.one_model import OneModel
from kserve_runtimes.tensorflow.quiet import keras, tf

__all__ = ["TensorFlowFramework"]

_SIGNATURE: Final = "serving_default"
_ROW_BY_ROW: Final = frozenset(
    """Activation Add BatchNormalization Bidirectional Conv1D Conv2D Dense Dropout ELU Embedding Flatten GRU
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D InputLayer LSTM LeakyReLU
    MaxPooling1D MaxPooling2D Multiply ReLU Rescaling Reshape""".split()  # noqa: SIM905 - a page otherwise
)
"""Keras layers that never look at another row when they serve."""


class TensorFlowFramework:
    """TensorFlow on the CPU."""

    name = "tensorflow"

    def __init__(self, *, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.get_logger().setLevel("ERROR")

    def load(self, spec: BotSpec, folder: Path, /, inputs: Sequence[TensorSpec]) -> Model:
        """The model; see `kserve_runtimes.core.model.Framework`."""
        path = folder / str(spec.model["file"])
        if spec.model["format"] == "keras":
            return _load_keras(spec, path, inputs)
        return _load_saved_model(spec, path, inputs)


class _Graph:
    """A traced function of tensors."""

    def __init__(
        self,
        call: Callable[[Mapping[str, Array]], Any],
        outputs: Sequence[str],
        footprint_bytes: int,
        *,
        keep: object,
        together: Together | None = None,
    ) -> None:
        self.together = together
        self._call = call
        self._outputs = outputs
        self._keep = keep  # a SavedModel's functions use its variables without holding them
        self.footprint_bytes = footprint_bytes

    def predict(self, inputs: Mapping[str, Array], /) -> Mapping[str, Array]:
        """The model's outputs, named by the model where it names them, else in the declared order."""
        result = self._call(inputs)
        if isinstance(result, Mapping):
            return {str(name): value.numpy() for name, value in result.items()}
        values = result if isinstance(result, list | tuple) else [result]
        if len(values) == 1:
            return {"output": values[0].numpy()}
        names = self._outputs if len(self._outputs) == len(values) else [f"output_{i}" for i in range(len(values))]
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def _load_keras(spec: BotSpec, path: Path, inputs: Sequence[TensorSpec]) -> Model:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    _check_count(spec, inputs, len(model.inputs))
    own_names = [tensor.name for tensor in model.inputs]
    by_name = {tensor.name for tensor in inputs} == set(own_names)
    ordered = sorted(inputs, key=lambda tensor: own_names.index(tensor.name)) if by_name else list(inputs)
    names = [tensor.name for tensor in ordered]
    signature = [tf.TensorSpec(own.shape, own.dtype) for own in model.inputs]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def forward(*tensors: Any) -> Any:
        return model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)

    graph = forward.get_concrete_function()
    dtypes = [np.dtype(own.dtype) if own.dtype != "string" else DATATYPES["BYTES"] for own in model.inputs]

    def call(arrays: Mapping[str, Array]) -> Any:
        return graph(
            *(tf.constant(arrays[name].astype(dtype, copy=False)) for name, dtype in zip(names, dtypes, strict=True))
        )

    weights_bytes = sum(int(np.prod(weight.shape)) * np.dtype(weight.dtype).itemsize for weight in model.weights)
    graph_bytes = graph.graph.as_graph_def().ByteSize()
    together = OneModel() if _are_rows_independent(model) else None
    return _Graph(
        call,
        [output.name for output in spec.outputs],
        weights_bytes + graph_bytes,
        keep=(model, forward),
        together=together,
    )


def _are_rows_independent(model: Any) -> bool:
    """Whether nothing mixes rows, which is known of plain layers; `keras.ops` and models within are not looked into."""
    parts = getattr(model, "operations", None) or model.layers  # of a Functional, or of a Sequential
    are_plain = all(
        isinstance(part, keras.Layer)
        and not isinstance(part, keras.Model)
        and type(part).__name__ in _ROW_BY_ROW
        and not getattr(part, "stateful", False)
        for part in parts
    )
    return are_plain and all(tensor.shape[0] is None for tensor in model.inputs)


def _load_saved_model(spec: BotSpec, path: Path, inputs: Sequence[TensorSpec]) -> Model:
    loaded = tf.saved_model.load(str(path))
    signatures = loaded.signatures
    found = list(signatures)
    name = _SIGNATURE if _SIGNATURE in signatures else found[0] if len(found) == 1 else None
    if name is None:
        expected = f"a SavedModel with the signature {_SIGNATURE}, or with only one"
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("model.file", ", ".join(found) or None, expected)])
    graph = signatures[name]
    _, keywords = graph.structured_input_signature
    _check_count(spec, inputs, len(keywords))
    keyword_of = _match_names(spec, inputs, keywords)

    def call(arrays: Mapping[str, Array]) -> Any:
        return graph(
            **{keyword: tf.constant(arrays[own], dtype=keywords[keyword].dtype) for own, keyword in keyword_of.items()}
        )

    variables = {id(variable): variable for variable in graph.variables}
    weights_bytes = sum(int(np.prod(v.shape)) * v.dtype.size for v in variables.values())
    footprint_bytes = weights_bytes + graph.graph.as_graph_def().ByteSize()
    return _Graph(call, [output.name for output in spec.outputs], footprint_bytes, keep=loaded)


def _check_count(spec: BotSpec, inputs: Sequence[TensorSpec], wanted: int) -> None:
    if len(inputs) != wanted:
        expected = f"{wanted} tensors for the model, after preprocessing, since it takes so many"
        names = ", ".join(tensor.name for tensor in inputs)
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("inputs", names, expected)])


def _match_names(spec: BotSpec, inputs: Sequence[TensorSpec], keywords: Mapping[str, Any]) -> dict[str, str]:
    """The signature's keyword for each input: by name, or the only one for the only one."""
    names = [tensor.name for tensor in inputs]
    if len(names) == 1:
        return {names[0]: next(iter(keywords))}
    if set(names) != set(keywords):
        expected = f"named as the signature's: {', '.join(sorted(keywords))}"
        raise InvalidDocumentError(f"bot {spec.id}", [Problem.of("inputs", ", ".join(names), expected)])
    return {name: name for name in names}
