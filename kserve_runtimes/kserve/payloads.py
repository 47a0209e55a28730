"""What a `kserve.Model` gets and gives: requests and answers of the SDK's, of V2 and of V1, made of arrays and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from kserve.protocol.infer_type import InferInput

from botshard.oip.tensors import Array, datatype_of
from botshard.processing.errors import ModelOutputError
from kserve_runtimes.serving.sdk import InferOutput, InferRequest, InferResponse

__all__ = ["outputs_of", "request_of"]


class _Input(InferInput):  # type: ignore[misc]  # the SDK has no types
    """An input whose numbers become a list when somebody asks for one; most ask for the array."""

    def __init__(self, name: str, datatype: str, array: Array) -> None:
        super().__init__(name, list(array.shape), datatype)
        self._array = array
        if datatype == "BYTES":
            self._data = _listed(array)

    @property
    def data(self) -> Any:
        if self._data is None and self._raw_data is None:
            self._data = _listed(self._array)
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._data = data

    def as_numpy(self) -> Array:
        if self._data is not None or self._raw_data is not None:
            return super().as_numpy()  # type: ignore[no-any-return]
        return self._array if self._array.flags.writeable else self._array.copy()


def request_of(
    name: str, inputs: Mapping[str, Array], datatypes: Mapping[str, str], /, *, payload: str
) -> InferRequest | dict[str, Any]:
    """Inputs as the class wants them: `v2` an InferRequest; `v1` `{"instances": [...]}`, one a row."""
    if payload == "v2":
        wanted = [_Input(own, datatypes.get(own) or datatype_of(array), array) for own, array in inputs.items()]
        return InferRequest(model_name=name, infer_inputs=wanted)
    columns = {own: _rows(array) for own, array in inputs.items()}
    if len(columns) == 1:
        (rows,) = columns.values()
        return {"instances": rows}
    return {"instances": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def outputs_of(answer: object, /) -> dict[str, Array]:
    """Outputs by name, of whatever KServe takes for an answer: an InferResponse, a dictionary of V2 or V1, or rows.

    Raises: ModelOutputError where it is none of these.
    """
    if isinstance(answer, tuple):  # with headers for the client, which a pool's answers do not have
        answer = answer[0]
    if isinstance(answer, InferResponse):
        return {output.name: _numpy(output) for output in answer.outputs}
    if isinstance(answer, Mapping):
        if isinstance(outputs := answer.get("outputs"), Sequence):
            return {str(output["name"]): _numpy(InferOutput(**output)) for output in outputs}
        answer = answer.get("predictions")
    if isinstance(answer, np.ndarray):
        return {"output": answer}
    if not isinstance(answer, list):
        raise ModelOutputError(f"the class answers {type(answer).__name__}; KServe takes InferResponse or predictions")
    if answer and all(isinstance(row, Mapping) for row in answer):
        return {str(name): _array([row[name] for row in answer]) for name in answer[0]}
    return {"output": _array(answer)}


def _numpy(output: InferOutput) -> Array:
    array: Array = output.as_numpy()
    return array


def _array(rows: list[Any]) -> Array:
    try:
        array = np.array(rows)
    except ValueError as error:
        raise ModelOutputError(f"the class answers rows of different shapes ({error})") from error
    return array.astype(object) if array.dtype.kind in "SU" else array


def _listed(array: Array) -> list[Any]:
    return [_text(value) for value in array.ravel()] if array.dtype.kind == "O" else array.ravel().tolist()


def _rows(array: Array) -> list[Any]:
    """One value a row, nested as JSON would be; a single value stands alone, as V1 clients send it."""
    if array.dtype.kind == "O":
        flat = np.empty(array.size, dtype=object)
        flat[:] = [_text(value) for value in array.ravel()]
        array = flat.reshape(array.shape)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind == "O":
        array = array[:, 0]
    return array.tolist()  # type: ignore[no-any-return]


def _text(value: Any) -> Any:
    """Text as JSON clients' requests hold it; bytes that are none stay bytes."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
