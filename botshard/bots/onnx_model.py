"""Is this `.onnx` file a model that ONNX Runtime can load without reaching beyond the bot's folder?

What an ONNX file can do besides computing is little, and is refused here: operators that a library of somebody's own
brings, weights in files by any path, functions and training that no server needs. The rest are bounds: versions of the
format that every supported ONNX Runtime knows, nesting, sizes, trees that are trees.

The check reads the file at the level of protobuf fields, so no ONNX is needed; it is made when a bot is published, and
again by the replica that loads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Final

from botshard.bots.onnx_proto import MOST_DEPTH, Graph, OnnxModel, Operation, Stored, ValueType, read_onnx
from botshard.bots.refusals import RefusedFileError
from botshard.sharding.errors import Problem

__all__ = ["MOST_OPSETS", "check_onnx", "external_files", "load_onnx"]

_WHAT: Final = "an ONNX model"
_LEAST_IR: Final = 3
_MOST_IR: Final = 14
"""What the oldest ONNX Runtime that `pyproject.toml` takes reads."""
_LEAST_OPSET: Final = 7
MOST_OPSETS: Final = MappingProxyType({"": 28, "ai.onnx.ml": 5})
"""The domains whose operators may be used, and the newest version of each: ONNX's own, in that ONNX Runtime."""
_RUNTIMES: Final = "com.microsoft"
_RUNTIMES_OPERATORS: Final = frozenset(
    """BiasGelu CDist DynamicQuantizeLSTM DynamicQuantizeMatMul FastGelu FusedGemm FusedMatMul Gelu Inverse
    MatMulIntegerToFloat QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu
    QLinearMul QLinearSigmoid QLinearSoftmax QuickGelu SkipLayerNormalization
    Tokenizer""".split()  # noqa: SIM905 - one name a line would be a page
)
"""ONNX Runtime's own operators that compute on tensors and texts, and that skl2onnx and its quantizer write."""
_MOST_ELEMENTS: Final = 1 << 31
"""Of a weight; what a protobuf message can hold at most, and what external data are bounded by their files to."""
_MOST_TARGETS: Final = 1 << 16
"""Outputs a row of an ensemble of trees, which are allocated by what it says of them."""
_ZIPMAP: Final = "without ZipMap: `to_onnx(model, example, options={'zipmap': False})` gives labels and probabilities"


def load_onnx(path: Path, /) -> OnnxModel:
    """The model in a file. Raises: RefusedFileError where it is no ONNX model, or a damaged one; OSError."""
    try:
        model = read_onnx(path.read_bytes())
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        expected = f"{_WHAT} with graphs at most {MOST_DEPTH} deep in each other" if deep else _WHAT
        raise RefusedFileError(f"a damaged ONNX model ({error})", expected) from error
    if model.graph is None or not model.graph.operations:
        raise RefusedFileError("a file without an ONNX graph", _WHAT)
    return model


def check_onnx(path: Path, folder: Path, /) -> list[Problem]:
    """Every reason not to load the model at `path`; ends at the first, since the rest is not to be trusted then.

    Args:
        path: of the model's file.
        folder: the bot's folder, which everything has to stay in.
    """
    try:
        model = load_onnx(path)
        assert model.graph is not None  # noqa: S101 - `load_onnx` has looked
        _check_versions(model)
        for graph in model.graph.everything():
            for operation in graph.operations:
                _check_operation(operation, model)
        _check_values(model.graph)
        for stored in _all_stored(model.graph):
            _check_stored(stored, path, folder)
    except RefusedFileError as error:
        return [error.problem]
    return []


def external_files(path: Path, /) -> tuple[Path, ...]:
    """Files beside the model that hold weights of it, sorted. Those that are not there are the check's to tell."""
    try:
        # Whoever names a file says `location`; trees of a megabyte are not read twice for those who do not.
        graph = load_onnx(path).graph if b"location" in path.read_bytes() else None
    except RefusedFileError:
        return ()
    found = {stored.external.get("location", "") for stored in _all_stored(graph) if stored.external} if graph else ()
    return tuple(sorted(path.parent / name for name in found if _is_plain(name) and (path.parent / name).is_file()))


def _check_versions(model: OnnxModel) -> None:
    if not _LEAST_IR <= model.ir_version <= _MOST_IR:
        expected = (
            f"{_WHAT} of IR version {_LEAST_IR} to {_MOST_IR}: export it with an older target, or set `ir_version`"
        )
        raise RefusedFileError(f"IR version {model.ir_version}", expected)
    for domain, most in MOST_OPSETS.items():
        version = model.opsets.get(domain)
        least = _LEAST_OPSET if domain == "" else 1
        if version is not None and not least <= version <= most:
            shown = domain or "ai.onnx"
            expected = (
                f"{_WHAT} whose operators are of {shown} version {least} to {most} (`target_opset` of the exporter)"
            )
            raise RefusedFileError(f"operators of {shown} version {version}", expected)
    if model.has_functions:
        expected = f"{_WHAT} without functions: `onnx.inliner.inline_local_functions(model)` puts them in"
        raise RefusedFileError("functions of the model's own", expected)
    if model.has_training:
        raise RefusedFileError("training graphs", f"{_WHAT} for inference alone")


def _check_operation(operation: Operation, model: OnnxModel) -> None:
    shown = f"the operator {operation.operator!r:.60}"
    is_runtimes = operation.domain == _RUNTIMES and operation.operator in _RUNTIMES_OPERATORS
    if operation.domain not in MOST_OPSETS and not is_runtimes:
        expected = f"{_WHAT} of operators of ai.onnx and ai.onnx.ml, and the few of {_RUNTIMES} that exporters write"
        raise RefusedFileError(f"{shown} of the domain {operation.domain!r:.60}", expected)
    if operation.domain not in model.opsets:
        raise RefusedFileError(f"{shown} of a domain without a version", f"{_WHAT} that says which operators it uses")
    if max(operation.numbers.get("n_targets", ()), default=0) > _MOST_TARGETS:
        raise RefusedFileError(f"{shown} with {operation.numbers['n_targets'][0]} outputs a row", _WHAT)


def _check_values(graph: Graph) -> None:
    """What callers give and get are tensors whose types the protocol has."""
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        if not values:
            raise RefusedFileError(f"a graph without an {kind}", _WHAT)
        if len({value.name for value in values}) != len(values):
            raise RefusedFileError(f"two {kind}s of one name", _WHAT)
        for value in values:
            if not value.is_tensor:
                is_map = value.kind in ("sequence", "map")
                expected = f"{_WHAT} {_ZIPMAP}" if is_map else f"{_WHAT} whose inputs and outputs are tensors"
                raise RefusedFileError(f"the {kind} {value.name!r:.60}, {_article(value)}", expected)


def _article(value: ValueType) -> str:
    return {"sequence": "a sequence of maps or tensors", "optional": "an optional"}.get(value.kind, f"a {value.kind}")


def _check_stored(stored: Stored, path: Path, folder: Path) -> None:
    shown = f"the weights {stored.name!r:.60}"
    if min(stored.dimensions, default=0) < 0 or prod(stored.dimensions) > _MOST_ELEMENTS:
        raise RefusedFileError(f"{shown} of shape {list(stored.dimensions)!r:.60}", _WHAT)
    if stored.external is None:
        return
    name = stored.external.get("location", "")
    if not _is_plain(name):
        expected = f"{_WHAT} whose weights are in its own file, or in files beside it"
        raise RefusedFileError(f"{shown} in {name!r:.80}", expected)
    file = path.parent / name
    if not _is_inside(file, folder):
        raise RefusedFileError(f"{shown} in {name!r:.80}, which is not there", f"{_WHAT} with the files of its weights")
    offset, length = (_number(stored.external.get(key, "0")) for key in ("offset", "length"))
    if offset + length > file.stat().st_size:
        raise RefusedFileError(
            f"{shown} behind the end of {name!r:.80}", f"{_WHAT} with the whole files of its weights"
        )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RefusedFileError(f"external data at {text!r:.40}", f"{_WHAT} whose weights begin at a number of bytes")
    return int(text)


def _is_plain(name: str) -> bool:
    """Whether a location names something beside the model, without a way up, a hidden part or an absolute path."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and all(part and not part.startswith(".") for part in parts)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether it is a plain file in the folder, reached without a link."""
    steps = [file, *(parent for parent in file.parents if parent.is_relative_to(folder) and parent != folder)]
    return file.is_relative_to(folder) and file.is_file() and not any(step.is_symlink() for step in steps)


def _all_stored(graph: Graph) -> Iterator[Stored]:
    for one in graph.everything():
        yield from one.stored
        for operation in one.operations:
            yield from operation.stored
