"""The infer request and its answer, client side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botshard.oip.errors import InvalidAnswerError, InvalidInputError
from botshard.oip.fields import json_object, optional_text, parameters_of, split_body
from botshard.oip.rest import EncodedBody, encode_tensors
from botshard.oip.tensors import Tensor, tensor_from_binary, tensor_from_json

__all__ = ["InferenceResponse", "decode_error", "decode_response", "encode_request"]


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """An answer."""

    model_name: str
    outputs: Mapping[str, Tensor]
    model_version: str | None = None
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def encode_request(
    inputs: Sequence[Tensor],
    *,
    id: str | None = None,  # noqa: A002 - the protocol's word
    outputs: Sequence[str] = (),
    parameters: Mapping[str, object] | None = None,
    binary: bool = False,
) -> EncodedBody:
    """Writes an infer request.

    Args:
        inputs: the tensors, in any order.
        id: comes back in the answer.
        outputs: those wanted, by name; empty: all.
        parameters: of the request as a whole.
        binary: send the inputs, and ask for the outputs, as binary data.

    Raises: UnencodableOutputError for what JSON cannot say.
    """
    document: dict[str, object] = {}
    if id is not None:
        document["id"] = id
    merged = dict(parameters or {})
    if binary:
        merged["binary_data_output"] = True
    if merged:
        document["parameters"] = merged
    if outputs:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    return encode_tensors(document, "inputs", [(tensor, binary) for tensor in inputs])


def decode_response(body: bytes | memoryview, *, header_length: int | None = None) -> InferenceResponse:
    """Reads an answer (of status 200). Raises: InvalidAnswerError."""
    try:
        head, tail = split_body(body, header_length)
        document = json_object(head)
        return InferenceResponse(
            model_name=optional_text(document, "model_name") or "",
            outputs=_outputs(document.get("outputs"), tail),
            model_version=optional_text(document, "model_version"),
            id=optional_text(document, "id"),
            parameters=parameters_of(document, None),
        )
    except (InvalidInputError, KeyError, TypeError, ValueError) as error:
        raise InvalidAnswerError(f"the answer is not one of the Open Inference Protocol: {error}") from error


def decode_error(body: bytes | memoryview, /) -> str:
    """The text of an error answer, whatever it looks like."""
    try:
        error = json_object(body).get("error")
    except InvalidInputError:
        error = None
    return error if isinstance(error, str) else bytes(body[:500]).decode(errors="replace")


def _outputs(entries: Any, tail: memoryview | None) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    offset = 0
    for entry in entries:
        name, datatype, shape = str(entry["name"]), str(entry["datatype"]), tuple(int(size) for size in entry["shape"])
        size = (entry.get("parameters") or {}).get("binary_data_size")
        if size is None:
            outputs[name] = tensor_from_json(name, datatype, shape, entry["data"])
            continue
        if tail is None or offset + size > len(tail):
            raise InvalidInputError(name, "its binary data is not there", kind="output")
        outputs[name] = tensor_from_binary(name, datatype, shape, tail[offset : offset + size], finite=False)
        offset += size
    return outputs
