"""ONNX models: ordinary ones are accepted, those that reach beyond their folder or beyond ONNX are refused."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.bots.bot_file import read_bot_folder
from botshard.bots.limits import Limits
from botshard.bots.model_files import check_model_files
from botshard.bots.onnx_file import linear_onnx_bytes
from botshard.bots.onnx_proto import read_onnx
from botshard.bots.protobuf_wire import packed_numbers, values
from botshard.sharding.errors import InvalidDocumentError
from tests.bots.folders import write_bot

_LINEAR = {
    "id": "acme-linear",
    "tenant": "acme",
    "poolGroup": "realtime",
    "framework": "onnx",
    "model": {"format": "onnx", "file": "model.onnx"},
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
_CLASSIFIER = {
    **_LINEAR,
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 8]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ],
}


@pytest.fixture
def models(onnx_models: Path) -> Path:
    """A folder with the models of `tests.bots.onnx_models`."""
    return onnx_models


def _check(folder: Path, name: str, limits: Limits | None = None) -> tuple[tuple[Path, ...], list[str]]:
    model = {"format": "onnx", "file": name}
    files, problems = check_model_files(folder, model, framework="onnx", limits=limits or Limits())
    return files, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "name",
    [
        "logistic",
        "boosted",
        "histograms",
        "forest",
        "regression",
        "text",
        "columns",
        "linear",
        "nested",
        "deep-network",
    ],
)
def test_what_exporters_write_is_accepted(models: Path, name: str) -> None:
    """Pipelines, trees, text and columns of scikit-learn, and graphs with graphs in them."""
    assert _check(models, f"{name}.onnx") == ((Path(f"{name}.onnx"),), [])


@pytest.mark.parametrize(("name", "beside"), [("beside", "weights.bin"), ("packed", "packed.bin")])
def test_weights_beside_the_model_are_published_with_it(models: Path, name: str, beside: str) -> None:
    """Files that the model names are the bot's too."""
    assert _check(models, f"{name}.onnx") == (tuple(sorted([Path(f"{name}.onnx"), Path(beside)])), [])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("zipmap", "a sequence of maps or tensors"),
        ("own-domain", "the operator 'Own' of the domain 'com.acme'"),
        ("runtimes-own", "the operator 'RotaryEmbedding' of the domain 'com.microsoft'"),
        ("no-version", "the operator 'Scaler' of a domain without a version"),
        ("functions", "functions of the model's own"),
        ("new-ir", "IR version 99"),
        ("old-ir", "IR version 1"),
        ("new-opset", "operators of ai.onnx version 999"),
        ("old-opset", "operators of ai.onnx version 2"),
        ("up", "the weights 'weight' in '../weights.bin'"),
        ("absolute", "the weights 'weight' in '/etc/hostname'"),
        ("hidden", "the weights 'weight' in '.ssh/id_rsa'"),
        ("nowhere", "which is not there"),
        ("linked", "which is not there"),
        ("behind", "behind the end of 'weights.bin'"),
        ("no-number", "external data at '-1'"),
        ("deep", "graphs within graphs"),
        ("sequence", "the output 'y', a sequence"),
        ("bfloat", "the output 'y', a tensor of type 16"),
        ("many-targets", "with 1000000000 outputs a row"),
        ("cut", "a damaged ONNX model"),
        ("twice", "two graphs"),
        ("text-file", "a damaged ONNX model"),
        ("empty", "a file without an ONNX graph"),
    ],
)
def test_what_does_more_than_compute_is_refused(models: Path, name: str, found: str) -> None:
    """And the refusal says what was found, and what would be right."""
    _, problems = _check(models, f"{name}.onnx")
    assert len(problems) == 1
    assert problems[0].startswith("model.file: must be ")
    assert found in problems[0]


def test_the_way_out_of_a_zipmap_is_told(models: Path) -> None:
    """It is what `to_onnx` writes unless it is asked not to."""
    assert "options={'zipmap': False}" in _check(models, "zipmap.onnx")[1][0]


def test_weights_beside_count_as_well(models: Path) -> None:
    """A small graph with large weights is a large bot."""
    size_bytes = (models / "beside.onnx").stat().st_size
    assert "at most" in _check(models, "beside.onnx", Limits(artifact_bytes=size_bytes + 1))[1][0]


def test_a_pickle_by_another_name_is_refused(tmp_path: Path) -> None:
    """With the way out for scikit-learn."""
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04\x95 and so on")
    assert "skl2onnx.to_onnx" in _check(tmp_path, "model.onnx")[1][0]


def _folder(models: Path, folder: Path, name: str, document: dict[str, Any]) -> Path:
    write_bot(folder, document)
    shutil.copy(models / f"{name}.onnx", folder / "model.onnx")
    return folder


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        pytest.param("linear", _LINEAR, id="linear"),
        pytest.param("linear", {**_LINEAR, "inputs": [_tensor("anything", "FP32", -1, 4)]}, id="a lone input's name"),
        pytest.param("linear", {**_LINEAR, "outputs": [_tensor("anything", "FP64", -1, 2)]}, id="a lone output's name"),
        pytest.param("logistic", _CLASSIFIER, id="label and probabilities"),
        pytest.param(
            "boosted", {**_CLASSIFIER, "outputs": [_tensor("label", "INT32", -1, 1)]}, id="the label alone, as a column"
        ),
        pytest.param(
            "columns",
            {
                **_CLASSIFIER,
                "inputs": [_tensor("number", "FP32", -1, 1), _tensor("city", "BYTES", -1, 1)],
                "outputs": [_tensor("label", "INT64", -1)],
            },
            id="several inputs in any order",
        ),
    ],
)
def test_what_fits_the_graph_is_a_bot(models: Path, tmp_path: Path, name: str, document: dict[str, Any]) -> None:
    """Declared tensors are those of the graph."""
    assert read_bot_folder(_folder(models, tmp_path / "bot", name, document)).files == (Path("model.onnx"),)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        pytest.param(
            "linear", {"inputs": [_tensor("x", "INT64", -1, 4)]}, "inputs[0].datatype: must be FP32", id="datatype"
        ),
        pytest.param(
            "linear", {"inputs": [_tensor("x", "FP32", -1, 5)]}, "inputs[0].shape: must be [-1, 4]", id="size"
        ),
        pytest.param("linear", {"inputs": [_tensor("x", "FP32", -1, -1)]}, "inputs[0].shape", id="free"),
        pytest.param("linear", {"inputs": [_tensor("x", "FP32", -1)]}, "inputs[0].shape", id="rank"),
        pytest.param(
            "linear",
            {"inputs": [_tensor("x", "FP32", -1, 4), _tensor("z", "FP32", -1, 4)]},
            "inputs: must be what the model takes: x FP32 [-1, 4], found x, z",
            id="one too many",
        ),
        pytest.param("one-row", {}, "a model whose first dimension is free", id="one row alone"),
        pytest.param(
            "linear", {"outputs": [_tensor("y", "INT64", -1, 2)]}, "outputs[0].datatype", id="output datatype"
        ),
        pytest.param("linear", {"outputs": [_tensor("y", "FP32", -1, 3)]}, "outputs[0].shape", id="output size"),
        pytest.param(
            "linear",
            {"outputs": [_tensor("y", "FP32", -1, 2), _tensor("z", "FP32", -1, 2)]},
            "outputs: must be some of what the model gives: y FP32 [-1, 2]",
            id="unknown output",
        ),
        pytest.param(
            "linear",
            {
                "inputs": [_tensor("text", "BYTES", -1, 1)],
                "preprocess": [{"step": "hash-ngrams", "features": 5, "words": [1, 2]}],
            },
            "preprocess: must be",
            id="steps that make something else",
        ),
    ],
)
def test_what_does_not_fit_the_graph_is_refused(
    models: Path, tmp_path: Path, name: str, changes: dict[str, Any], said: str
) -> None:
    """When it is published, without ONNX: the author is told, not the first client."""
    with pytest.raises(InvalidDocumentError) as caught:
        read_bot_folder(_folder(models, tmp_path / "bot", name, {**_LINEAR, **changes}))
    assert said in str(caught.value)


def test_the_model_to_start_from_is_one() -> None:
    """What is written without ONNX is read as what it is."""
    model = read_onnx(linear_onnx_bytes([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    graph = model.graph
    assert graph is not None
    assert [(value.name, value.kind, value.dimensions) for value in graph.inputs] == [("x", "FP32", ("batch", 3))]
    assert [(value.name, value.kind, value.dimensions) for value in graph.outputs] == [("y", "FP32", ("batch", 2))]
    assert [stored.dimensions for stored in graph.stored] == [(3, 2)]


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    """Whatever a file holds, reading it ends in a model or in the one error that the check catches."""
    with suppress(ValueError, RecursionError):
        read_onnx(data)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=100), st.integers(1, 15), st.booleans())
def test_repeated_numbers_are_told_up_to_a_count(numbers: list[int], field: int, packed: bool) -> None:  # noqa: FBT001 - a case
    """Packed or one by one, and what follows them is not lost."""
    written = b"".join(map(_varint, numbers))
    key = bytes([field << 3])
    message = (
        bytes([field << 3 | 2]) + _varint(len(written)) + written
        if packed
        else b"".join(key + _varint(number) for number in numbers)
    )
    message += bytes([1 << 3 | 2, 1]) + b"z"
    told = list(values(memoryview(message), most_repeats=10))
    first = [number for one, value in told[:-1] for number in packed_numbers(value) if one == field]
    assert first == (numbers if packed else numbers[:10])
    assert told[-1][0] == 1
    assert bytes(told[-1][1]) == b"z"


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
