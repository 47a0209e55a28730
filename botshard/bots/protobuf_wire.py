"""Protocol buffers without their schema: just enough to walk a message by field numbers.

The wire format is small and fixed (https://protobuf.dev/programming-guides/encoding/). Walking it here keeps
TensorFlow, the only place where the schema of a SavedModel could be had from, out of the process that publishes.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["bytes_fields", "fields"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def fields(message: memoryview, /) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that holds bytes (texts, messages, packed numbers); numbers are passed over.

    Raises: ValueError where the message is damaged.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            length, position = _varint(message, position)
            end = position + length
            if end > len(message):
                raise ValueError(f"field {number} ends {end - len(message)} bytes behind its message")
            yield number, message[position:end]
            position = end
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} of field {number}")
    if position != len(message):
        raise ValueError("a number is cut off")


def bytes_fields(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Contents of every field at `path`, a field number a level."""
    if not path:
        yield message
        return
    for number, content in fields(message):
        if number == path[0]:
            yield from bytes_fields(content, *path[1:])


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if position + index >= len(message):
            raise ValueError("a number is cut off")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a number of more than 64 bits")
