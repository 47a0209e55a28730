"""Do the rows of a graph depend on each other? Only where every operator is known not to mix them, they do not.

That the first dimension of inputs and outputs is free says how many rows there may be, not that they are independent: a
graph may subtract the mean of its batch. So rows are followed from the inputs, operator by operator: which tensors have
a row in their first dimension, and how many dimensions. An operator that is not known here, or that is used in a way
that is not, ends it: then each request of that bot is run by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botshard.bots.onnx_proto import Graph, Operation

__all__ = ["are_rows_independent"]

_ELEMENTWISE: Final = frozenset(
    """Abs Acos Acosh Add And Asin Asinh Atan Atanh Binarizer BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity
    IsInf IsNaN LabelEncoder LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal
    Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where
    Xor""".split()  # noqa: SIM905 - one name a line would be a page
)
_ROW_BY_ROW: Final = frozenset({"Imputer", "Normalizer", "Scaler"})
"""Of two dimensions, to two."""
_CLASSIFIERS: Final = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})
_REGRESSORS: Final = frozenset({"LinearRegressor", "SVMRegressor", "TreeEnsemble", "TreeEnsembleRegressor"})
_IMAGES: Final = frozenset(
    {
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "InstanceNormalization",
        "MaxPool",
    }
)
"""Batch first; the other inputs are weights."""
_ALONG: Final = frozenset({"Hardmax", "LayerNormalization", "LogSoftmax", "Softmax"})
_REDUCING: Final = frozenset(
    {"ArgMax", "ArgMin"}
    | {f"Reduce{how}" for how in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")}
)


def are_rows_independent(graph: Graph, /) -> bool:
    """Whether rows of a batch may be computed with those of another."""
    ranks: dict[str, int] = {}
    for value in graph.inputs:
        if not value.dimensions or isinstance(value.dimensions[0], int):
            return False
        ranks[value.name] = len(value.dimensions)
    constants = {stored.name: stored.dimensions for stored in graph.stored}
    numbers = {stored.name: stored.numbers for stored in graph.stored}
    for operation in graph.operations:
        if operation.operator == "Constant":
            stored = operation.stored[0] if operation.stored else None
            constants[operation.outputs[0]] = stored.dimensions if stored is not None else ()
            numbers[operation.outputs[0]] = stored.numbers if stored is not None else None
            if stored is None:  # one of its shorter forms, whose shape does not matter unless it is a list
                constants[operation.outputs[0]] = (len(operation.numbers.get("value_ints", ())) or 1,)
                numbers[operation.outputs[0]] = operation.numbers.get("value_ints")
            continue
        rank = _rank(operation, ranks, constants, numbers)
        if rank is None:
            return False
        ranks.update(dict.fromkeys(operation.outputs, rank))
        if operation.operator in _CLASSIFIERS:
            ranks[operation.outputs[0]] = 1  # the label
    return all(value.name in ranks for value in graph.outputs)


def _rank(
    operation: Operation,
    ranks: Mapping[str, int],
    constants: Mapping[str, tuple[int, ...]],
    numbers: Mapping[str, tuple[int, ...] | None],
) -> int | None:
    """How many dimensions its outputs have, of which the first is the rows; None: who knows."""
    given = [name for name in operation.inputs if name]
    if not given or operation.graphs or any(name not in ranks and name not in constants for name in given):
        return None
    rows = [ranks[name] for name in given if name in ranks]
    shapes = [constants[name] for name in given if name not in ranks]
    if operation.operator in _ELEMENTWISE:
        return _elementwise(rows, shapes)
    if given[0] not in ranks or (len(rows) > 1 and operation.operator != "Concat"):
        return _looked_up(operation, given, ranks, constants)
    return _of_one(operation, ranks[given[0]], rows, shapes, next((numbers.get(name) for name in given[1:]), None))


def _elementwise(rows: list[int], shapes: list[tuple[int, ...]]) -> int | None:
    """Constants may have a row for all, not one for each: one dimension less, or one row."""
    if not rows or len(set(rows)) != 1:
        return None
    fits = all(len(shape) < rows[0] or (len(shape) == rows[0] and shape[0] == 1) for shape in shapes)
    return rows[0] if fits else None


def _looked_up(
    operation: Operation, given: list[str], ranks: Mapping[str, int], constants: Mapping[str, tuple[int, ...]]
) -> int | None:
    """An embedding: rows of numbers, and a table."""
    if operation.operator != "Gather" or given[0] not in constants or given[1] not in ranks:
        return None
    return None if _attribute(operation, "axis", 0) != 0 else len(constants[given[0]]) - 1 + ranks[given[1]]


def _of_one(  # noqa: C901, PLR0911 - one case an operator
    operation: Operation,
    rank: int,
    rows: list[int],
    shapes: list[tuple[int, ...]],
    numbers: tuple[int, ...] | None,
) -> int | None:
    """The first input is rows of `rank` dimensions, the others are constants (of Concat rows, too)."""
    axis = _attribute(operation, "axis", -1)
    match operation.operator:
        case name if name in _ROW_BY_ROW or name in _CLASSIFIERS or name in _REGRESSORS:
            return 2 if rank == 2 else None
        case name if name in _IMAGES:
            is_plain = len(operation.outputs) == 1 and not _attribute(operation, "training_mode", 0)
            return rank if rank > 1 and is_plain else None
        case name if name in _ALONG:
            return rank if axis % rank else None
        case name if name in _REDUCING:
            default = (0,) if name.startswith("Arg") else ()
            axes = operation.numbers.get("axes") or operation.numbers.get("axis") or numbers or default
            if not axes or not all(one % rank for one in axes):
                return None
            return rank if _attribute(operation, "keepdims", 1) else rank - len(axes)
        case "Concat":
            return rank if not shapes and set(rows) == {rank} and axis % rank else None
        case "MatMul":
            return rank if rank > 1 and len(shapes[0]) == 2 else None
        case "Gemm":
            fits = rank == 2 and not _attribute(operation, "transA", 0)
            return 2 if fits and all(len(shape) < 2 or shape[0] == 1 for shape in shapes[1:]) else None
        case "Flatten":
            return 2 if _attribute(operation, "axis", 1) == 1 else None
        case "Transpose":
            return rank if operation.numbers.get("perm", ())[:1] == (0,) else None
        case "Reshape":
            keeps = numbers is not None and numbers[0] == 0 and not _attribute(operation, "allowzero", 0)
            return len(numbers) if keeps and numbers is not None else None
        case "Dropout":
            return rank if len(shapes) < 2 else None
    return None


def _attribute(operation: Operation, name: str, default: int) -> int:
    return next(iter(operation.numbers.get(name, ())), default)
