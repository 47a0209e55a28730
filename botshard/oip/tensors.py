"""One named tensor: its datatype, shape and values, and its two forms on the wire.

Numbers are numpy arrays of the tensor's shape; `BYTES` is a flat list of `bytes` in row-major order, since numpy has no
good type for it. `BF16`, which numpy does not know either, is held as float32 and has a binary form only.

Binary form: values in row-major order, little-endian; `BOOL` one byte 0 or 1; each element of `BYTES` is its length as
4 bytes little-endian, then its bytes. JSON form: the values, flat or nested as the shape says; `BYTES` as text.

Functions that read raise InvalidInputError with the tensor's name, functions that write raise UnencodableOutputError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from botshard.oip.errors import InvalidInputError, UnencodableOutputError
from botshard.sharding.errors import CallerError

__all__ = [
    "DATATYPES",
    "Array",
    "Tensor",
    "datatype_of",
    "tensor_from_binary",
    "tensor_from_json",
    "tensor_to_binary",
    "tensor_to_json",
]

Array = NDArray[Any]

DATATYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        "BOOL": np.dtype("?"),
        "UINT8": np.dtype("u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "BF16": np.dtype("<f4"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
        "BYTES": np.dtype("O"),
    }
)
"""Every datatype of the protocol and the numpy type that its values have here."""

_DATATYPE_OF: Final = MappingProxyType({dtype: name for name, dtype in DATATYPES.items() if name != "BF16"})
_JSON_TYPES: Final = MappingProxyType(
    {"b": frozenset({bool}), "u": frozenset({int}), "i": frozenset({int}), "f": frozenset({int, float})}
)
_JSON_WORDS: Final = MappingProxyType(
    {"b": "true or false", "u": "whole numbers", "i": "whole numbers", "f": "numbers"}
)
_LENGTH: Final = struct.Struct("<I")
_PACKED: Final = MappingProxyType(
    {
        "FP32": ("f", struct.pack("<f", 0), struct.pack("<f", 1)),
        "FP64": ("d", struct.pack("<d", 0), struct.pack("<d", 1)),
    }
)
"""Datatypes that `struct` writes faster than numpy reads a list: format, zero, one. It refuses what is too large."""
_PACKED_AT_MOST: Final = 1 << 16
"""Elements; beyond, numpy is as fast and takes less memory."""


class Tensor(NamedTuple):
    """A named tensor. `data` is an array of exactly `shape`, or for `BYTES` the elements in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | list[bytes]

    @classmethod
    def of(cls, name: str, values: Array | Sequence[str | bytes], *, datatype: str | None = None) -> Tensor:
        """A tensor of an array, or of texts (then of shape `(n, 1)`).

        Arrays of objects are taken as `BYTES`, of other types by their dtype; `datatype` says `BF16` for float32.
        """
        if not isinstance(values, np.ndarray):
            return cls(name, "BYTES", (len(values), 1), [_as_bytes(name, value) for value in values])
        if values.dtype.kind in "OSU":
            return cls(name, "BYTES", values.shape, [_as_bytes(name, value) for value in values.ravel().tolist()])
        return cls(name, datatype or datatype_of(values), values.shape, values)

    @property
    def rows(self) -> int:
        """Size of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    def numpy(self) -> Array:
        """The values as an array of `shape`; `BYTES` as an array of `bytes` objects."""
        if not isinstance(self.data, list):
            return self.data
        array = np.empty(len(self.data), dtype=object)
        array[:] = self.data
        return array.reshape(self.shape)


def _as_bytes(name: str, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise UnencodableOutputError(name, f"BYTES holds text or bytes, not {type(value).__name__}")


def datatype_of(array: Array, /) -> str:
    """The protocol's name for an array's type. Raises: CallerError for types that the protocol does not have."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    name = _DATATYPE_OF.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise CallerError(f"no datatype of the Open Inference Protocol holds {array.dtype}")
    return name


# --- reading ---------------------------------------------------------------------------------------------------------


def tensor_from_json(name: str, datatype: str, shape: tuple[int, ...], data: object) -> Tensor:
    """A tensor of decoded JSON, flat or nested. Types are taken literally: no text for numbers, no 1 for true."""
    dtype = _known(name, datatype)
    values = _flat(name, shape, data)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _texts(name, values))
    if datatype == "BF16":
        raise InvalidInputError(name, "BF16 has no JSON form; send it as binary data, or send FP32")
    if datatype in _PACKED and len(values) <= _PACKED_AT_MOST:
        packed = _packed(name, datatype, values)
        return Tensor(name, datatype, shape, np.frombuffer(packed, dtype).reshape(shape))
    _check_kinds(name, datatype, values)
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=dtype)
    except OverflowError as error:
        limits = np.iinfo(dtype)
        raise InvalidInputError(name, f"data of {datatype} must lie in {limits.min} … {limits.max}") from error
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError(name, f"data holds a number that is too large for {datatype}")
    return Tensor(name, datatype, shape, array.reshape(shape))


def _packed(name: str, datatype: str, values: list[Any]) -> bytearray:
    """Floats and whole numbers as their bytes."""
    code, zero, one = _PACKED[datatype]
    packed = bytearray(len(values) * DATATYPES[datatype].itemsize)
    try:
        struct.pack_into(f"<{len(values)}{code}", packed, 0, *values)
    except struct.error:
        _check_kinds(name, datatype, values)
        raise
    except OverflowError as error:
        _check_kinds(name, datatype, values)
        raise InvalidInputError(name, f"data holds a number that is too large for {datatype}") from error
    # True and false are the only things that are packed and must not be. Looking for what they would have become is
    # several times faster than looking at the type of each value.
    if zero in packed or one in packed:
        _check_kinds(name, datatype, values)
    return packed


def _check_kinds(name: str, datatype: str, values: list[Any]) -> None:
    kind = DATATYPES[datatype].kind
    kinds = _JSON_TYPES[kind]
    if not kinds.issuperset(map(type, values)):
        index = next(i for i, value in enumerate(values) if type(value) not in kinds)
        raise InvalidInputError(
            name, f"data of {datatype} must be {_JSON_WORDS[kind]}, found {_shown(values[index])} at index {index}"
        )


def tensor_from_binary(
    name: str, datatype: str, shape: tuple[int, ...], raw: memoryview, *, finite: bool = True
) -> Tensor:
    """A tensor of its binary form; numbers are a read-only view of `raw`, not a copy (`BF16` is one).

    `finite` refuses NaN and infinities, which JSON has no number for.
    """
    dtype = _known(name, datatype)
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _read_bytes(name, raw, count))
    itemsize = 2 if datatype == "BF16" else dtype.itemsize
    if len(raw) != count * itemsize:
        raise InvalidInputError(
            name, f"{len(raw)} bytes of binary data, but {datatype} of shape {list(shape)} takes {count * itemsize}"
        )
    if datatype == "BF16":
        array = (np.frombuffer(raw, dtype="<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    else:
        array = np.frombuffer(raw, dtype=dtype).reshape(shape)
    if dtype.kind == "b" and count and array.view(np.uint8).max() > 1:
        raise InvalidInputError(name, "binary data of BOOL must be bytes 0 or 1")
    if finite and dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError(name, "data holds NaN or an infinity; numbers must be finite")
    return Tensor(name, datatype, shape, array)


def _known(name: str, datatype: str) -> np.dtype[Any]:
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        raise InvalidInputError(name, f"datatype must be one of {', '.join(DATATYPES)}, found {_shown(datatype)}")
    return dtype


def _flat(name: str, shape: tuple[int, ...], data: object) -> list[Any]:
    """The elements in row-major order. Nested data must be nested exactly as `shape` says."""
    if type(data) is not list:
        raise InvalidInputError(name, f"data must be an array, found {_shown(data)}")
    count = math.prod(shape)
    level: list[Any] = data
    if len(shape) > 1 and level and type(level[0]) is list:
        if len(level) != shape[0]:
            raise InvalidInputError(name, f"data holds {len(level)} rows, but the shape is {list(shape)}")
        for size in shape[1:]:
            if not all(type(item) is list and len(item) == size for item in level):
                raise InvalidInputError(name, f"data is not nested as its shape {list(shape)} says")
            level = list(chain.from_iterable(level))
    if len(level) != count:
        raise InvalidInputError(name, f"data holds {len(level)} elements, but shape {list(shape)} takes {count}")
    return level


def _texts(name: str, values: list[Any]) -> list[bytes]:
    try:
        return [str.encode(value) for value in values]
    except TypeError as error:
        index = next(i for i, value in enumerate(values) if type(value) is not str)
        raise InvalidInputError(
            name, f"data of BYTES must be text, found {_shown(values[index])} at index {index}"
        ) from error


def _read_bytes(name: str, raw: memoryview, count: int) -> list[bytes]:
    if len(raw) < _LENGTH.size * count:  # before the loop, so that a huge declared shape costs nothing
        raise InvalidInputError(name, f"{len(raw)} bytes of binary data are too few for {count} elements")
    values = []
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > len(raw):
            raise InvalidInputError(name, f"binary data ends before the length of element {index}")
        position = start + int.from_bytes(raw[start - _LENGTH.size : start], "little")
        if position > len(raw):
            raise InvalidInputError(name, f"binary data ends within element {index}")
        values.append(bytes(raw[start:position]))
    if position != len(raw):
        raise InvalidInputError(name, f"{len(raw) - position} bytes of binary data follow the last element")
    return values


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"


# --- writing ---------------------------------------------------------------------------------------------------------


def tensor_to_json(tensor: Tensor, /) -> Array | list[str]:
    """The flat values for `orjson` with OPT_SERIALIZE_NUMPY.

    Raises: UnencodableOutputError for what JSON cannot say: NaN, infinities, BF16, bytes that are not UTF-8.
    """
    data = tensor.data
    if isinstance(data, list):
        try:
            return [value.decode() for value in data]
        except UnicodeDecodeError as error:
            raise UnencodableOutputError(
                tensor.name, "holds bytes that are not UTF-8; ask for it as binary data"
            ) from error
    if tensor.datatype == "BF16":
        raise UnencodableOutputError(tensor.name, "BF16 has no JSON form; ask for it as binary data")
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise UnencodableOutputError(
            tensor.name, "holds NaN or an infinity, which JSON has no number for; binary data carries them"
        )
    return np.ascontiguousarray(data, dtype=DATATYPES[tensor.datatype]).reshape(-1)


def tensor_to_binary(tensor: Tensor, /) -> bytes:
    """The binary form."""
    data = tensor.data
    if isinstance(data, list):
        return b"".join(chain.from_iterable((_LENGTH.pack(len(value)), value) for value in data))
    if tensor.datatype == "BF16":
        return _bf16_bytes(data)
    return np.ascontiguousarray(data, dtype=DATATYPES[tensor.datatype]).tobytes()


def _bf16_bytes(data: Array) -> bytes:
    """The upper halves of float32, rounded to the nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(data, dtype="<f4").view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    upper = np.where(nan, bits | np.uint32(0x00400000), rounded) >> np.uint32(16)
    return upper.astype("<u2").tobytes()
