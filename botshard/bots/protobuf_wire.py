"""Protocol buffers without their schema: just enough to walk a message by field numbers.

The wire format is small and fixed (https://protobuf.dev/programming-guides/encoding/). Walking it here keeps
TensorFlow and ONNX, the only places where the schemas of their models could be had from, out of the process that
publishes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["bytes_fields", "fields", "packed_numbers", "values"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def values(message: memoryview, /, *, most_repeats: int | None = None) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field: bytes, or a whole number as it was sent (negative ones wrapped at 64 bits).

    Numbers of fixed width are passed over, since neither kind of model says anything in one that matters to a check.

    Args:
        message: the bytes.
        most_repeats: of a number that is repeated many times on end, so many are told; None: all.

    Raises: ValueError where the message is damaged.
    """
    position, last, repeats = 0, 0, 0
    while position < len(message):
        if most_repeats is not None:
            repeats, last = repeats + 1 if message[position] == last else 1, message[position]
            if repeats > most_repeats and (run := _run(last)) is not None:
                position = found.end() if (found := run.match(message, position)) else position
                if position == len(message):
                    return
                last = message[position]
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
            value, position = _varint(message, position)
            yield number, value
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} of field {number}")
    if position != len(message):
        raise ValueError("a number is cut off")


def fields(message: memoryview, /) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that holds bytes (texts, messages, packed numbers); numbers are passed over.

    Raises: ValueError where the message is damaged.
    """
    for number, value in values(message):
        if isinstance(value, memoryview):
            yield number, value


def packed_numbers(value: memoryview | int, /) -> Iterator[int]:
    """The whole numbers of one occurrence of a repeated field, packed or not."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _varint(value, position)
        yield number


def bytes_fields(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Contents of every field at `path`, a field number a level."""
    if not path:
        yield message
        return
    for number, content in fields(message):
        if number == path[0]:
            yield from bytes_fields(content, *path[1:])


def _run(key: int) -> re.Pattern[bytes] | None:
    """Numbers with this key, a byte, on end; None where it is no such key."""
    number = b"[\\x80-\\xff]{0,9}[\\x00-\\x7f]"
    content = {_VARINT: number, _FIXED32: rb"[\s\S]{4}", _FIXED64: rb"[\s\S]{8}"}.get(key & 7)
    return None if content is None or key >= 0x80 else re.compile(b"(?:\\x%02x%b)+" % (key, content))


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
