"""A bot's sample request is checked when it is published, and becomes part of the bot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from botshard.bots.bot_file import read_bot_folder
from botshard.bots.limits import Limits
from botshard.bots.publish import publish
from botshard.bots.samples import read_sample
from botshard.sharding.errors import InvalidDocumentError
from botshard.store.urls import open_store
from tests.bots.folders import GOOD, write_bot

_ROW = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


def _with_sample(folder: Path, request: object, *, name: str = "sample.json") -> Path:
    write_bot(folder, {**GOOD, "sample": name})
    (folder / "sample.json").write_text(request if isinstance(request, str) else json.dumps(request))
    return folder


def test_a_sample_is_published_with_the_bot(tmp_path: Path) -> None:
    """It is one of the bot's files, and reads back as the request that it is."""
    folder = _with_sample(tmp_path / "bot", {"inputs": [_ROW], "outputs": [{"name": "y"}]})
    bot = read_bot_folder(folder)
    assert [path.name for path in bot.files] == ["model.safetensors", "sample.json"]
    request = read_sample(bot.spec, folder)
    assert request is not None
    assert request.inputs["x"].shape == (1, 4)
    assert [output.name for output in request.outputs] == ["y"]


def test_another_sample_is_another_version(tmp_path: Path) -> None:
    """The sample is content: what a replica tried is what the version's number says."""
    store = open_store(f"file://{tmp_path / 'store'}", {})
    numbers = []
    for sample in ({"inputs": [_ROW]}, {"inputs": [_ROW]}, {"inputs": [{**_ROW, "data": [0, 0, 0, 0]}]}):
        (result,) = publish(store, [_with_sample(tmp_path / "bot", sample)], now_s=1)
        numbers.append(result.version)
    assert numbers == [1, 1, 2]


@pytest.mark.parametrize(
    ("request_body", "found"),
    [
        ("{", "JSON"),
        ({"inputs": []}, "input 'x': is missing"),
        ({"inputs": [{**_ROW, "shape": [1, 3]}]}, "input 'x': shape [1, 3]"),
        ({"inputs": [{**_ROW, "datatype": "FP64"}]}, "input 'x': datatype must be FP32"),
        ({"inputs": [{**_ROW, "name": "z"}]}, "input 'z': is unknown"),
        ({"inputs": [{**_ROW, "data": ["a", "b", "c", "d"]}]}, "input 'x'"),
        ({"inputs": [_ROW], "outputs": [{"name": "z"}]}, "output 'z': is unknown"),
    ],
    ids=["no-json", "missing", "shape", "datatype", "unknown", "values", "output"],
)
def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, request_body: object, found: str) -> None:
    """The field is named, and the tensor in it."""
    with pytest.raises(InvalidDocumentError) as caught:
        read_bot_folder(_with_sample(tmp_path / "bot", request_body))
    (problem,) = caught.value.problems
    assert problem.field == "sample"
    assert "sample.json" in problem.found
    assert found in problem.found


@pytest.mark.parametrize("name", ["other.json", "../sample.json", "/etc/passwd", ".hidden.json", "", 7, ["a"]])
def test_a_sample_is_a_file_in_the_folder(tmp_path: Path, name: object) -> None:
    """Whatever else the field says is refused, and nothing outside of the folder is read."""
    folder = write_bot(tmp_path / "bot", {**GOOD, "sample": name})
    (tmp_path / "sample.json").write_text(json.dumps({"inputs": [_ROW]}))
    with pytest.raises(InvalidDocumentError) as caught:
        read_bot_folder(folder)
    assert [problem.field for problem in caught.value.problems] == ["sample"]


def test_a_large_sample_is_refused(tmp_path: Path) -> None:
    """Each replica runs it with each load."""
    with pytest.raises(InvalidDocumentError, match="at most 10 B"):
        read_bot_folder(_with_sample(tmp_path / "bot", {"inputs": [_ROW]}), limits=Limits(sample_bytes=10))


def test_a_sample_that_is_damaged_in_a_store_is_refused_by_name(tmp_path: Path) -> None:
    """A replica trusts what publishing checked no more than it must."""
    folder = _with_sample(tmp_path / "bot", {"inputs": [_ROW]})
    spec = read_bot_folder(folder).spec
    (folder / "sample.json").write_text("{}")
    with pytest.raises(InvalidDocumentError, match=r"bot acme-banking: sample: must be"):
        read_sample(spec, folder)
    (folder / "sample.json").unlink()
    with pytest.raises(InvalidDocumentError, match=r"bot acme-banking: sample: must be"):
        read_sample(spec, folder)
