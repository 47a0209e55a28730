"""Safetensors files: they hold exactly what the architecture declares, laid out so that nothing can hide in them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from botshard.bots.architectures import ARCHITECTURES, architecture_from_document, read_architecture
from botshard.bots.pickles import find_pickle
from botshard.bots.safetensors_file import check_safetensors
from botshard.sharding.errors import InvalidDocumentError
from tests.bots.folders import write_weights

_DOCUMENTS: Mapping[str, dict[str, object]] = {
    "linear": {"name": "linear", "inputs": 4, "outputs": 2},
    "linear without bias": {"name": "linear", "inputs": 4, "outputs": 2, "bias": False},
    "mlp": {"name": "mlp", "layers": [4, 3, 2], "activation": "gelu"},
    "embedding-bag": {"name": "embedding-bag", "vocabulary": 9, "dim": 4, "mode": "sum", "layers": [3, 2]},
    "embedding-bag without padding": {
        "name": "embedding-bag",
        "vocabulary": 9,
        "dim": 4,
        "layers": [2],
        "padding": None,
    },
}


@pytest.mark.parametrize("document", _DOCUMENTS.values(), ids=_DOCUMENTS.keys())
def test_an_architecture_comes_back_from_its_document(document: dict[str, object]) -> None:
    """The document names every parameter, is JSON, and is read to an equal architecture."""
    architecture = architecture_from_document(document)
    written = json.loads(json.dumps(architecture.to_document()))
    assert architecture_from_document(written) == architecture
    assert set(document) <= set(written)
    assert architecture.output_count == 2
    assert architecture.input_shape[0] == -1


@pytest.mark.parametrize("document", _DOCUMENTS.values(), ids=_DOCUMENTS.keys())
def test_the_reference_writer_and_ours_agree(tmp_path: Path, document: dict[str, object]) -> None:
    """A file of the safetensors package is accepted, and the package reads a file of ours to the same tensors."""
    architecture = architecture_from_document(document)
    tensors = {tensor.name: torch.full(tensor.shape, 0.5) for tensor in architecture.tensors}
    save_file(tensors, tmp_path / "theirs.safetensors", metadata={"made by": "a test"})
    assert check_safetensors(tmp_path / "theirs.safetensors", architecture) == []
    write_weights(tmp_path / "ours.safetensors", document)
    read = load_file(tmp_path / "ours.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_the_registered_names_are_the_documented_ones() -> None:
    """Each architecture has a name of its own."""
    assert [architecture.kind for architecture in ARCHITECTURES] == ["linear", "mlp", "embedding-bag"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"vocabulary": 0}, "vocabulary"),
        ({"dim": "64"}, "dim"),
        ({"mode": "max"}, "mode"),
        ({"layers": []}, "layers"),
        ({"layers": [1] * 65}, "layers"),
        ({"layers": "64"}, "layers"),
        ({"padding": 9}, "padding"),
        ({"padding": -1}, "padding"),
        ({"bias": True}, "bias"),
    ],
    ids=str,
)
def test_a_bad_parameter_is_named(change: dict[str, object], field: str) -> None:
    """Its path is below the field that holds the architecture."""
    architecture, problems = read_architecture({**_DOCUMENTS["embedding-bag"], **change}, "model.architecture")
    assert architecture is None
    assert [problem.field for problem in problems] == [f"model.architecture.{field}"]


def test_a_flag_is_true_or_false() -> None:
    """A number is no flag."""
    with pytest.raises(InvalidDocumentError, match=r"architecture\.bias: must be true or false, found 1"):
        architecture_from_document({**_DOCUMENTS["linear"], "bias": 1})


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({}, "no such tensor"),
        ({"weight": torch.zeros(2, 5), "bias": torch.zeros(2)}, "F32 [2, 5]"),
        ({"weight": torch.zeros(2, 4, dtype=torch.float16), "bias": torch.zeros(2)}, "F16 [2, 4]"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2), "more": torch.zeros(1)}, "tensor 'more'"),
    ],
    ids=["none", "another shape", "another dtype", "one too many"],
)
def test_tensors_other_than_declared_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], found: str) -> None:
    """Missing, misshapen, of another type or too many: each is named, with what the architecture declares."""
    save_file(tensors, tmp_path / "model.safetensors")
    problems = check_safetensors(tmp_path / "model.safetensors", architecture_from_document(_DOCUMENTS["linear"]))
    assert any(problem.found == found for problem in problems), problems
    assert all("architecture linear" in problem.expected for problem in problems)


def _file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


_W = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 bytes"),
        (b"\x01\x02", "2 bytes"),
        (struct.pack("<Q", 1 << 60) + b"{}", "a header of 1152921504606846976 bytes"),
        (_file(b"{"), "a header of 1 bytes"),
        (_file([]), "a header that is a list"),
        (_file(b'{"a": 1, "a": 2}'), "stands twice"),
        (_file({"w": 1}), "1"),
        (_file({"w": {**_W, "shape": [-1]}}, b"0000"), "'shape': [-1]"),
        (_file({"w": {**_W, "shape": [True]}}, b"0000"), "'shape': [True]"),
        (_file({"w": {**_W, "data_offsets": [0]}}, b"0000"), "'data_offsets': [0]"),
        (_file({"w": {**_W, "dtype": "object"}}, b"0000"), "dtype 'object'"),
        (_file({"w": {**_W, "data_offsets": [4, 8]}}, b"00000000"), "offsets [4, 8] of tensor 'w'"),
        (_file({"w": _W, "v": _W}, b"0000"), "offsets [0, 4] of tensor"),
        (_file({"w": {**_W, "shape": [2]}}, b"0000"), "offsets [0, 4] of tensor 'w'"),
        (_file({"w": _W}, b"000"), "3 bytes of numbers"),
        (_file({"w": _W}, b"0000and more"), "12 bytes of numbers"),
    ],
    ids=[
        "empty",
        "shorter than its length",
        "longer than the file",
        "no JSON",
        "a list",
        "a name twice",
        "an entry that is a number",
        "a negative size",
        "a size that is true",
        "one offset",
        "an unknown dtype",
        "a hole",
        "an overlap",
        "a size that is too small",
        "cut off",
        "something behind the end",
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    """Header and offsets describe the whole file, and nothing outside of it."""
    (tmp_path / "model.safetensors").write_bytes(content)
    (problem,) = check_safetensors(tmp_path / "model.safetensors", None)
    assert found in problem.found


@pytest.mark.parametrize("header_bytes", [128, 384, 640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path, header_bytes: int) -> None:
    """The length in front of a header may be the bytes that a pickle begins with; what follows it is not."""
    header = json.dumps({"__metadata__": {"note": ""}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", header_bytes) + header.ljust(header_bytes))
    assert path.read_bytes()[0] == 0x80
    assert find_pickle(path, "torch") is None
    assert check_safetensors(path, None) == []
