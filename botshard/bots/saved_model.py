"""Does this SavedModel only compute?

A SavedModel is a graph, and some operators of a graph read files, write files or call Python. So all its operators have
to be of the list in `botshard.bots.saved_model_operators`. Saving and restoring are the exception that every SavedModel
needs: their operators may stand in functions that only the saver calls, with the file name that TensorFlow hands in.

The graph is read at the level of protobuf fields (numbers from tensorflow/core/protobuf/saved_model.proto and
meta_graph.proto, core/framework/graph.proto, function.proto and node_def.proto), so no TensorFlow is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from botshard.bots.protobuf_wire import bytes_fields, fields
from botshard.bots.refusals import RefusedFileError
from botshard.bots.saved_model_operators import CHECKPOINT_OPERATORS, OPERATORS
from botshard.sharding.errors import Problem

__all__ = ["check_saved_model"]

_WHAT = "a SavedModel written by model.export or tf.saved_model.save"
_OTHER_FORMS = ("saved_model.cpb", "saved_model.pbtxt")

# Field numbers.
_META_GRAPHS = 2  # of SavedModel
_GRAPH_DEF, _SIGNATURES, _OBJECT_GRAPH = 2, 5, 7  # of MetaGraphDef
_NODES, _LIBRARY = 1, 2  # of GraphDef
_FUNCTIONS = 1  # of FunctionDefLibrary
_SIGNATURE, _FUNCTION_NODES = 1, 3  # of FunctionDef
_ARGUMENTS = 2  # of OpDef
_NAME, _OPERATOR, _INPUT = 1, 2, 3  # of NodeDef; _NAME also of OpDef and ArgDef


@dataclass(frozen=True, slots=True)
class _Operation:
    """A node of a graph or of a function."""

    name: str
    operator: str
    first_input: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    first_argument: str
    operations: tuple[_Operation, ...]

    @property
    def touches_files(self) -> bool:
        return any(operation.operator in CHECKPOINT_OPERATORS for operation in self.operations)


def check_saved_model(folder: Path, /) -> list[Problem]:
    """Every reason not to load the model in `folder`."""
    graph = folder / "saved_model.pb"
    try:
        _check_folder(folder, graph)
        for meta_graph in bytes_fields(memoryview(graph.read_bytes()), _META_GRAPHS):
            _check_meta_graph(meta_graph)
    except (ValueError, RecursionError) as error:
        return [Problem("model.file", f"a damaged saved_model.pb ({error})", _WHAT)]
    except RefusedFileError as error:
        return [error.problem]
    return []


def _check_folder(folder: Path, graph: Path) -> None:
    if not graph.is_file() or not (folder / "variables").is_dir():
        raise RefusedFileError("a folder without saved_model.pb and variables/", _WHAT)
    for name in _OTHER_FORMS:
        if (folder / name).exists():
            raise RefusedFileError(f"a folder with {name}, another form of the graph", f"{_WHAT} with one graph")
    if not any(bytes_fields(memoryview(graph.read_bytes()), _META_GRAPHS)):
        raise RefusedFileError("a saved_model.pb without a graph", _WHAT)


def _check_meta_graph(meta_graph: memoryview) -> None:
    nodes = tuple(_operation(node) for node in bytes_fields(meta_graph, _GRAPH_DEF, _NODES))
    functions = [_function(one) for one in bytes_fields(meta_graph, _GRAPH_DEF, _LIBRARY, _FUNCTIONS)]
    for operation in (*nodes, *(operation for function in functions for operation in function.operations)):
        if operation.operator not in OPERATORS | CHECKPOINT_OPERATORS:
            expected = f"{_WHAT} that only computes: without files, network, datasets, printing and Python"
            raise RefusedFileError(f"the operator {operation.operator!r} (node {operation.name!r:.60})", expected)
    savers = [function for function in functions if function.touches_files]
    for saver in savers:
        _check_saver(saver)
    names = [saver.name.encode() for saver in savers]
    callers = [operation for function in functions for operation in function.operations]
    described = [bytes(part) for part in bytes_fields(meta_graph, _OBJECT_GRAPH)]
    _refuse_mentions(names, (*(operation.raw for operation in callers), *described))
    _check_saver_calls(nodes, names, [bytes(part) for part in bytes_fields(meta_graph, _SIGNATURES)])


def _check_saver(function: _Function) -> None:
    """What is restored comes from the file that TensorFlow names, the function's first argument."""
    for operation in function.operations:
        if operation.operator == "RestoreV2" and operation.first_input != function.first_argument:
            raise RefusedFileError(
                f"a RestoreV2 of another file in {function.name!r:.60}", f"{_WHAT}, restored from itself"
            )


def _refuse_mentions(names: list[bytes], places: tuple[bytes, ...]) -> None:
    """No function and no exported object calls a saver: its name anywhere in their bytes counts as a call."""
    for name in names:
        if any(name in place for place in places):
            raise RefusedFileError(
                f"a call of {name.decode()!r:.60} from a function", f"{_WHAT}, saved by its saver only"
            )


def _check_saver_calls(nodes: tuple[_Operation, ...], names: list[bytes], signatures: list[bytes]) -> None:
    """The main graph calls savers only with the placeholder for TensorFlow's file name, which no request can fill."""
    placeholders = {operation.name for operation in nodes if operation.operator == "Placeholder"}
    for operation in nodes:
        if operation.operator not in CHECKPOINT_OPERATORS and not any(name in operation.raw for name in names):
            continue
        source = operation.first_input.removesuffix(":0")
        if operation.operator in CHECKPOINT_OPERATORS:
            expected = f"{_WHAT} by TensorFlow 2, which saves and restores in functions"
            raise RefusedFileError(f"the operator {operation.operator!r} in the main graph", expected)
        if source not in placeholders or any(source.encode() in signature for signature in signatures):
            raise RefusedFileError(
                f"a call of a saver in node {operation.name!r:.60}", f"{_WHAT}, saved by its saver only"
            )


def _operation(node: memoryview) -> _Operation:
    texts = {_NAME: "", _OPERATOR: "", _INPUT: ""}
    for number, content in fields(node):
        if number in (_NAME, _OPERATOR) or (number == _INPUT and not texts[_INPUT]):
            texts[number] = str(content, "utf-8")
    return _Operation(texts[_NAME], texts[_OPERATOR], texts[_INPUT], bytes(node))


def _function(function: memoryview) -> _Function:
    operations = tuple(_operation(node) for node in bytes_fields(function, _FUNCTION_NODES))
    return _Function(
        name=_first_text(bytes_fields(function, _SIGNATURE, _NAME)),
        first_argument=_first_text(bytes_fields(function, _SIGNATURE, _ARGUMENTS, _NAME)),
        operations=operations,
    )


def _first_text(contents: Iterator[memoryview]) -> str:
    return str(next(contents, memoryview(b"")), "utf-8")
