"""Reading the header of a safetensors file, and comparing it with the architecture it belongs to.

The format (https://github.com/huggingface/safetensors, "Format"): 8 bytes little-endian length N, N bytes of JSON
`{"name": {"dtype": …, "shape": […], "data_offsets": [begin, end]}, "__metadata__": {…}}`, then the numbers. Offsets
count from the end of the header and must cover the rest of the file without hole or overlap, so that nothing is hidden
between tensors and nothing is read outside of the file.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from botshard.bots.architectures import Architecture
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.reading import parse_json

__all__ = ["check_float32_tensors", "check_safetensors", "float32_layout", "safetensors_bytes"]

_LENGTH = struct.Struct("<Q")
_MOST_HEADER_BYTES = 16 << 20  # the reference reader allows 100 MB; 16 MiB is 100,000 tensors
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
_FIELD = "model.file"


@dataclass(frozen=True, slots=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_safetensors(path: Path, architecture: Architecture | None, /) -> list[Problem]:
    """Every problem of the file, and every difference to the tensors that `architecture` declares (None: unknown)."""
    try:
        tensors = _read_tensors(path)
    except _BadFileError as error:
        return [error.problem]
    return _differences(tensors, architecture) if architecture is not None else []


def check_float32_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], /, *, field: str) -> list[Problem]:
    """Every problem of a file that must hold these tensors of float32, and may hold others; `field` names the file."""
    try:
        tensors = _read_tensors(path)
    except _BadFileError as error:
        return [Problem(field, error.problem.found, error.problem.expected)]
    return [
        Problem(field, "no such tensor" if found is None else f"{found.dtype} {list(found.shape)}", expected)
        for name, shape in shapes.items()
        if (found := tensors.get(name)) is None or (found.dtype, found.shape) != ("F32", shape)
        for expected in (f"a file with tensor {name!r} as F32 {list(shape)}",)
    ]


def float32_layout(path: Path, /, *, only: Container[str] | None = None) -> dict[str, tuple[tuple[int, ...], int]]:
    """Where each tensor is: its shape, and the position of its first number from the begin of the file.

    Args:
        path: of the file.
        only: names of tensors that are wanted; None: all.

    Raises: InvalidDocumentError where the file is no safetensors file, or a tensor is not of float32.
    """
    try:
        header, data_bytes = _read_header(path)
        tensors = _tensors(header, data_bytes)
        tensors = {name: tensor for name, tensor in tensors.items() if only is None or name in only}
        _check_float32(tensors)
    except _BadFileError as error:
        raise InvalidDocumentError(str(path), [error.problem]) from error
    first = path.stat().st_size - data_bytes
    return {name: (tensor.shape, first + tensor.begin) for name, tensor in tensors.items()}


def safetensors_bytes(tensors: Mapping[str, tuple[tuple[int, ...], bytes]], /) -> bytes:
    """A safetensors file of float32 tensors: `{name: (shape, little-endian numbers)}`."""
    header: dict[str, object] = {}
    begin = 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, begin + len(data)]}
        begin += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers start aligned, as the reference writer has it
    return _LENGTH.pack(len(text)) + text + b"".join(data for _, data in tensors.values())


class _BadFileError(Exception):
    """Ends the reading of a file whose header cannot be trusted any further; never leaves this module."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.problem = Problem(_FIELD, found, f"a safetensors file with {expected}")


def _read_tensors(path: Path) -> dict[str, _Tensor]:
    return _tensors(*_read_header(path))


def _tensors(header: Mapping[str, object], data_bytes: int) -> dict[str, _Tensor]:
    tensors = {name: _tensor(name, entry) for name, entry in header.items() if name != "__metadata__"}
    _check_layout(tensors, data_bytes)
    return tensors


def _read_header(path: Path) -> tuple[Mapping[str, object], int]:
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(_LENGTH.size)
        if len(prefix) < _LENGTH.size:
            raise _BadFileError(f"{size_bytes} bytes", "an 8-byte length first")
        (length,) = _LENGTH.unpack(prefix)
        if length > min(size_bytes - _LENGTH.size, _MOST_HEADER_BYTES):
            raise _BadFileError(f"a header of {length} bytes in {size_bytes}", "its header inside the file")
        text = file.read(length)
    try:
        header = parse_json(text, "header")
    except InvalidDocumentError as error:
        raise _BadFileError(f"a header of {error.problems[0].found}", "a header of JSON") from error
    if not isinstance(header, dict):
        raise _BadFileError(f"a header that is a {type(header).__name__}", "a header that is an object")
    return header, size_bytes - _LENGTH.size - length


def _tensor(name: str, entry: object) -> _Tensor:
    expected = f"tensor {name!r} as {{dtype, shape, data_offsets: [begin, end]}}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _BadFileError(f"{entry!r:.80}", expected)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _BadFileError(f"{entry!r:.80}", expected)
    if dtype not in _ITEM_BYTES:
        raise _BadFileError(f"dtype {dtype!r} of tensor {name!r}", f"dtypes {', '.join(_ITEM_BYTES)}")
    return _Tensor(dtype, tuple(shape), *offsets)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _check_layout(tensors: Mapping[str, _Tensor], data_bytes: int) -> None:
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        size_bytes = math.prod(tensor.shape) * _ITEM_BYTES[tensor.dtype]
        where = f"[{tensor.begin}, {tensor.end}] of tensor {name!r}"
        if tensor.begin != position:
            raise _BadFileError(f"offsets {where}", f"{position} as its begin: no hole, no overlap")
        if tensor.end - tensor.begin != size_bytes:
            raise _BadFileError(
                f"offsets {where}", f"{size_bytes} bytes there, for {tensor.dtype} {list(tensor.shape)}"
            )
        position = tensor.end
    if position != data_bytes:
        raise _BadFileError(f"{data_bytes} bytes of numbers", f"the {position} bytes that its header names")


def _check_float32(tensors: Mapping[str, _Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != "F32":
            raise _BadFileError(f"{tensor.dtype} tensor {name!r}", "tensors of F32 only")


def _differences(tensors: Mapping[str, _Tensor], architecture: Architecture) -> list[Problem]:
    declared = {tensor.name: tensor.shape for tensor in architecture.tensors}
    problems = []
    for name, shape in declared.items():
        expected = f"a file with tensor {name!r} as F32 {list(shape)}, for architecture {architecture.kind}"
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(Problem(_FIELD, "no such tensor", expected))
        elif tensor.dtype != "F32" or tensor.shape != shape:
            problems.append(Problem(_FIELD, f"{tensor.dtype} {list(tensor.shape)}", expected))
    for name in sorted(tensors.keys() - declared.keys()):
        expected = f"a file without tensors that architecture {architecture.kind} does not declare"
        problems.append(Problem(_FIELD, f"tensor {name!r}", expected))
    return problems
