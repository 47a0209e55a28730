"""An ONNX model at the level of protobuf fields: what its check and its runtime want to know, without ONNX.

Field numbers are those of onnx/onnx.proto3. What is not asked for here is passed over, weights above all: they are
never copied. Subgraphs (of `If`, `Loop`, `Scan`) are walked as deep as `MOST_DEPTH`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from botshard.bots.protobuf_wire import fields, packed_numbers, values

__all__ = [
    "DATATYPES",
    "MOST_DEPTH",
    "Dimension",
    "Graph",
    "OnnxModel",
    "Operation",
    "Stored",
    "ValueType",
    "read_onnx",
]

MOST_DEPTH: Final = 16
"""Graphs within graphs; what loads a model goes down its nesting by recursion."""
DATATYPES: Final = MappingProxyType(
    {
        1: "FP32",
        2: "UINT8",
        3: "INT8",
        4: "UINT16",
        5: "INT16",
        6: "INT32",
        7: "INT64",
        8: "BYTES",
        9: "BOOL",
        10: "FP16",
        11: "FP64",
        12: "UINT32",
        13: "UINT64",
    }
)
"""The Open Inference Protocol's name of each `TensorProto.DataType` that has one and that numpy knows."""

# Field numbers.
_IR_VERSION, _GRAPH, _OPSETS, _TRAINING, _FUNCTIONS = 1, 7, 8, 20, 25  # of ModelProto
_NODES, _INITIALIZERS, _INPUTS, _OUTPUTS, _SPARSE = 1, 5, 11, 12, 15  # of GraphProto
_NODE_INPUTS, _NODE_OUTPUTS, _OPERATOR, _ATTRIBUTES, _DOMAIN = 1, 2, 4, 5, 7  # of NodeProto
_ATTRIBUTE_NAME, _NUMBER, _TENSOR, _SUBGRAPH = 1, 3, 5, 6  # of AttributeProto
_NUMBERS, _TENSORS, _SUBGRAPHS, _SPARSE_TENSOR, _SPARSE_TENSORS = 8, 10, 11, 22, 23  # of AttributeProto
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14  # of TensorProto
_INT64_DATA: Final = 7  # of TensorProto
_TENSOR_TYPE: Final = 1  # of TypeProto
_ELEMENT, _SHAPE = 1, 2  # of TypeProto.Tensor
_DIMENSION_SIZE, _DIMENSION_NAME = 1, 2  # of TensorShapeProto.Dimension
_SIGN: Final = 1 << 63
_MOST_NUMBERS: Final = 64
"""Of an attribute or a small tensor that are kept: axes and shapes; trees have millions that nobody asks for."""

Dimension = int | str
"""A size, the name of a free one, or nothing (an empty name) where it is free without a name."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """An input or output of a graph."""

    name: str
    kind: str
    """A datatype of the protocol; else what it is instead: `sequence`, `map`, `tensor of type 16` …"""
    dimensions: tuple[Dimension, ...] | None
    """None: not even how many there are is known."""

    @property
    def is_tensor(self) -> bool:
        """Whether it is a tensor of a datatype that the protocol has."""
        return self.kind in DATATYPES.values()


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that the model holds: a weight, or a constant of a node."""

    name: str
    dimensions: tuple[int, ...]
    external: Mapping[str, str] | None
    """Where its numbers are, if not in the model's own file: `location`, `offset`, `length`."""
    numbers: tuple[int, ...] | None
    """Whole numbers, where they are 64 bits wide and few: a shape, axes."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A node of a graph."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, tuple[int, ...]]
    """Attributes that are whole numbers, one or few: `axis`, `axes`, `transA`."""
    stored: tuple[Stored, ...]
    graphs: tuple[Graph, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph. Its `inputs` are those that a caller gives: initializers are left out."""

    inputs: tuple[ValueType, ...]
    outputs: tuple[ValueType, ...]
    operations: tuple[Operation, ...]
    stored: tuple[Stored, ...]

    def everything(self) -> Iterator[Graph]:
        """This graph and those within it."""
        yield self
        for operation in self.operations:
            for graph in operation.graphs:
                yield from graph.everything()


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model."""

    ir_version: int
    opsets: Mapping[str, int]
    """Version of the operators of each domain; `ai.onnx` is the empty one."""
    graph: Graph | None
    has_functions: bool
    has_training: bool


@dataclass(slots=True)
class _Reading:
    inputs: list[ValueType] = field(default_factory=list)
    outputs: list[ValueType] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)


def read_onnx(data: bytes, /) -> OnnxModel:
    """The model in `data`.

    Raises: ValueError where it is damaged, RecursionError where it is nested deeper than `MOST_DEPTH`.
    """
    ir_version, opsets, graph, has_functions, has_training = 0, dict[str, int](), None, False, False
    for number, value in values(memoryview(data)):
        if isinstance(value, int):
            ir_version = _signed(value) if number == _IR_VERSION else ir_version
        elif number == _GRAPH:
            if graph is not None:
                raise ValueError("two graphs")  # protobuf would merge them
            graph = _graph(value, 0)
        elif number == _OPSETS:
            domain, version = _opset(value)
            opsets[domain] = max(version, opsets.get(domain, 0))
        has_functions = has_functions or number == _FUNCTIONS
        has_training = has_training or number == _TRAINING
    return OnnxModel(ir_version, opsets, graph, has_functions, has_training)


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for _, value in values(message):
        if isinstance(value, int):
            version = _signed(value)
        else:
            domain = _text(value)
    return "" if domain == "ai.onnx" else domain, version


def _graph(message: memoryview, depth: int) -> Graph:
    if depth > MOST_DEPTH:
        raise RecursionError("graphs within graphs")
    reading = _Reading()
    for number, content in fields(message):
        if number == _NODES:
            reading.operations.append(_operation(content, depth))
        elif number == _INITIALIZERS:
            reading.stored.append(_stored(content))
        elif number == _SPARSE:
            reading.stored.extend(_sparse(content))
        elif number == _INPUTS:
            reading.inputs.append(_value_type(content))
        elif number == _OUTPUTS:
            reading.outputs.append(_value_type(content))
    held = {stored.name for stored in reading.stored}
    return Graph(
        inputs=tuple(value for value in reading.inputs if value.name not in held),
        outputs=tuple(reading.outputs),
        operations=tuple(reading.operations),
        stored=tuple(reading.stored),
    )


def _operation(message: memoryview, depth: int) -> Operation:
    texts: dict[int, list[str]] = {_NODE_INPUTS: [], _NODE_OUTPUTS: [], _OPERATOR: [], _DOMAIN: []}
    numbers: dict[str, tuple[int, ...]] = {}
    stored: list[Stored] = []
    graphs: list[Graph] = []
    for number, content in fields(message):
        if number in texts:
            texts[number].append(_text(content))
        elif number == _ATTRIBUTES:
            name, found, tensors, subgraphs = _attribute(content, depth)
            numbers[name] = found
            stored += tensors
            graphs += subgraphs
    domain = "".join(texts[_DOMAIN][-1:])
    return Operation(
        operator="".join(texts[_OPERATOR][-1:]),
        domain="" if domain == "ai.onnx" else domain,
        inputs=tuple(texts[_NODE_INPUTS]),
        outputs=tuple(texts[_NODE_OUTPUTS]),
        numbers=numbers,
        stored=tuple(stored),
        graphs=tuple(graphs),
    )


def _attribute(message: memoryview, depth: int) -> tuple[str, tuple[int, ...], list[Stored], list[Graph]]:
    name, numbers, stored, graphs = "", list[int](), list[Stored](), list[Graph]()
    for number, value in values(message, most_repeats=_MOST_NUMBERS):
        if number in (_NUMBER, _NUMBERS) and len(numbers) < _MOST_NUMBERS:
            numbers += _few(value)
        elif isinstance(value, int):
            continue
        elif number == _ATTRIBUTE_NAME:
            name = _text(value)
        elif number in (_TENSOR, _TENSORS):
            stored.append(_stored(value))
        elif number in (_SPARSE_TENSOR, _SPARSE_TENSORS):
            stored += _sparse(value)
        elif number in (_SUBGRAPH, _SUBGRAPHS):
            graphs.append(_graph(value, depth + 1))
    return name, tuple(numbers), stored, graphs


def _stored(message: memoryview) -> Stored:
    name, location, external = "", 0, dict[str, str]()
    dimensions, numbers, raw, data_type = list[int](), list[int](), memoryview(b""), 0
    for number, value in values(message):
        if number == _DIMS:
            dimensions += [_signed(one) for one in packed_numbers(value)]
        elif number == _INT64_DATA and len(numbers) < _MOST_NUMBERS:
            numbers += _few(value)
        elif isinstance(value, int):
            location = value if number == _LOCATION else location
            data_type = value if number == _DATA_TYPE else data_type
        elif number == _TENSOR_NAME:
            name = _text(value)
        elif number == _RAW:
            raw = value
        elif number == _EXTERNAL:
            key, text = _pair(value)
            if key in external:
                raise ValueError(f"{key!r} of a tensor's external data twice")
            external[key] = text
    is_int64 = DATATYPES.get(data_type) == "INT64"
    if is_int64 and raw and len(raw) % 8 == 0 and len(raw) // 8 <= _MOST_NUMBERS:
        numbers = [int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)]
    return Stored(name, tuple(dimensions), external if location or external else None, tuple(numbers) or None)


def _sparse(message: memoryview) -> list[Stored]:
    return [_stored(content) for number, content in fields(message) if number in (1, 2)]  # values, indices


def _pair(message: memoryview) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for number, content in fields(message):
        texts[number] = _text(content)
    return texts[1], texts[2]


def _value_type(message: memoryview) -> ValueType:
    name, kind, dimensions = "", "nothing", None
    for number, content in fields(message):
        if number == 1:
            name = _text(content)
        elif number == 2:
            kind, dimensions = _type(content)
    return ValueType(name, kind, dimensions)


def _type(message: memoryview) -> tuple[str, tuple[Dimension, ...] | None]:
    for number, content in fields(message):
        if number == _TENSOR_TYPE:
            return _tensor_type(content)
        if number in _OTHER_TYPES:
            return _OTHER_TYPES[number], None
    return "nothing", None


_OTHER_TYPES: Final = MappingProxyType({4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"})


def _tensor_type(message: memoryview) -> tuple[str, tuple[Dimension, ...] | None]:
    kind, dimensions = "nothing", None
    for number, value in values(message):
        if number == _ELEMENT and isinstance(value, int):
            kind = DATATYPES.get(value, f"tensor of type {value}")
        elif number == _SHAPE and isinstance(value, memoryview):
            dimensions = tuple(_dimension(content) for one, content in fields(value) if one == 1)
    return kind, dimensions


def _dimension(message: memoryview) -> Dimension:
    for number, value in values(message):
        if number == _DIMENSION_SIZE and isinstance(value, int):
            return _signed(value)
        if number == _DIMENSION_NAME and isinstance(value, memoryview):
            return _text(value)
    return ""


def _few(value: memoryview | int) -> list[int]:
    """The first numbers of a repeated field."""
    return [_signed(number) for number, _ in zip(packed_numbers(value), range(_MOST_NUMBERS), strict=False)]


def _signed(number: int) -> int:
    return number - 2 * _SIGN if number & _SIGN else number


def _text(content: memoryview) -> str:
    return str(content, "utf-8")
