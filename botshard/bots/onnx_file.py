"""The smallest ONNX model there is, a matrix, written without ONNX: for a bot to start from.

Field numbers are those of onnx/onnx.proto3, as in `botshard.bots.onnx_proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["linear_onnx_bytes"]

_FLOAT = 1  # of TensorProto.DataType
_IR_VERSION, _OPSET = 8, 17


def linear_onnx_bytes(weights: Sequence[Sequence[float]], /, *, input_name: str = "x", output_name: str = "y") -> bytes:
    """A model `y = x · weights`, float32: `weights` has one row an input and one column an output."""
    inputs, outputs = len(weights), len(weights[0])
    numbers = [number for row in weights for number in row]
    tensor = (
        _number(1, inputs)
        + _number(1, outputs)
        + _number(2, _FLOAT)
        + _bytes(8, b"weight")
        + _bytes(9, struct.pack(f"<{len(numbers)}f", *numbers))
    )
    node = (
        _bytes(1, input_name.encode()) + _bytes(1, b"weight") + _bytes(2, output_name.encode()) + _bytes(4, b"MatMul")
    )
    graph = (
        _bytes(1, node)
        + _bytes(2, b"linear")
        + _bytes(5, tensor)
        + _bytes(11, _value(input_name, inputs))
        + _bytes(12, _value(output_name, outputs))
    )
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, _OPSET))


def _value(name: str, columns: int) -> bytes:
    shape = _bytes(1, _bytes(2, b"batch")) + _bytes(1, _number(1, columns))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
