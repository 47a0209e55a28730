"""`bot.yaml`: everything is checked, every problem is named by field, value and what would be right."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from botshard.bots.bot_file import read_bot_folder
from botshard.bots.limits import Limits
from botshard.bots.spec_document import bot_schema, spec_from_document, spec_to_document
from botshard.sharding.catalog import ResourceHints, Rollout
from botshard.sharding.errors import InvalidDocumentError
from tests.bots.folders import GOOD, changed, text_bot, write_bot

_DOCS = Path(__file__).parents[2] / "docs"


def _refused(folder: Path) -> InvalidDocumentError:
    with pytest.raises(InvalidDocumentError) as caught:
        read_bot_folder(folder)
    return caught.value


def test_a_good_folder_is_read_whole(tmp_path: Path) -> None:
    """Every declared value arrives in the spec, sizes as bytes, the rollout as a number."""
    document = {**GOOD, "rollout": {"version": 3}, "resources": {"memory": "2Mi", "ratePerSecond": 5}, "pin": "vip"}
    bot = read_bot_folder(write_bot(tmp_path / "bot", document))
    assert (bot.spec.id, bot.spec.tenant, bot.spec.group, bot.spec.pin) == ("acme-banking", "acme", "realtime", "vip")
    assert bot.spec.rollout == Rollout(version=3)  # type: ignore[arg-type]
    assert bot.spec.resources == ResourceHints(memory_bytes=2 * 1024**2, rate_per_s=5.0)
    assert bot.files == (Path("model.safetensors"),)
    assert bot.spec.model["architecture"] == {"name": "mlp", "layers": [4, 3, 2], "activation": "relu"}


_BAD_FIELDS: dict[str, tuple[str, object, str, str]] = {
    "id with a space": ("id", "a b", "id", "1 to 128 letters"),
    "id of dots": ("id", "..", "id", "neither"),
    "id too long": ("id", "a" * 129, "id", "1 to 128 letters"),
    "id with a newline at its end": ("id", "abc\n", "id", "1 to 128 letters"),
    "id that is a number": ("id", 7, "id", "1 to 128 letters"),
    "id missing": ("id", ..., "id", "found nothing"),
    "tenant with a slash": ("tenant", "a/b", "tenant", "1 to 64 letters"),
    "group in capitals": ("poolGroup", "Real", "poolGroup", "lower case"),
    "unknown framework": ("framework", "tensorflw", "framework", "did you mean tensorflow?"),
    "framework null": ("framework", None, "framework", "one of kserve, onnx, tensorflow, torch"),
    "backbone with a space": ("backbone", "mini lm", "backbone", "1 to 63 letters"),
    "pin that is a list": ("pin", ["a"], "pin", "1 to 63 letters"),
    "misspelt key": ("tenent", "acme", "tenent", "did you mean tenant?"),
    "misspelt key of the model": ("model.fromat", "keras", "model.fromat", "did you mean format?"),
    "model that is a text": ("model", "model.safetensors", "model", "a mapping with format"),
    "unknown format": ("model.format", "saved-model", "model.format", "did you mean savedmodel?"),
    "format of the other framework": ("model.format", "keras", "model.format", "with framework torch"),
    "file outside of the folder": ("model.file", "../model.safetensors", "model.file", "without '..'"),
    "file by an absolute path": ("model.file", "/etc/passwd", "model.file", "leading '/'"),
    "file that is hidden": ("model.file", ".git/model.safetensors", "model.file", "hidden"),
    "file of another kind": ("model.file", "model.bin", "model.file", "a .safetensors file"),
    "no architecture": ("model.architecture", ..., "model.architecture", "{name: mlp"),
    "unknown architecture": ("model.architecture.name", "mlpp", "model.architecture.name", "did you mean mlp?"),
    "one layer": ("model.architecture.layers", [4], "model.architecture.layers", "a list of 2 to 64"),
    "a layer of nothing": ("model.architecture.layers", [4, 0, 2], "model.architecture.layers[1]", "from 1 to"),
    "a layer that is true": ("model.architecture.layers", [4, True, 2], "model.architecture.layers[1]", "from 1 to"),
    "unknown activation": ("model.architecture.activation", "rely", "model.architecture.activation", "mean relu?"),
    "unknown parameter": ("model.architecture.layer", [1], "model.architecture.layer", "did you mean layers?"),
    "no inputs": ("inputs", [], "inputs", "at least one"),
    "inputs as a mapping": ("inputs", {"x": "FP32"}, "inputs", "a list of tensors"),
    "an input that is a text": ("inputs.0", "x", "inputs[0]", "an item of a list of tensors"),
    "input without a name": ("inputs.0.name", ..., "inputs[0].name", "found nothing"),
    "input with a bad name": ("inputs.0.name", "a b", "inputs[0].name", "1 to 128"),
    "unknown datatype": ("inputs.0.datatype", "FP33", "inputs[0].datatype", "did you mean FP32?"),
    "datatype in small letters": ("inputs.0.datatype", "fp32", "inputs[0].datatype", "did you mean FP32?"),
    "shape with a fixed batch": ("inputs.0.shape", [1, 4], "inputs[0].shape", "-1 (the batch)"),
    "shape with a zero": ("inputs.0.shape", [-1, 0], "inputs[0].shape", "-1 where free"),
    "empty shape": ("inputs.0.shape", [], "inputs[0].shape", "a list of 1 to 8"),
    "shape with a text": ("inputs.0.shape", [-1, "4"], "inputs[0].shape[1]", "a list of 1 to 8"),
    "an input that the network does not take": ("inputs.0.shape", [-1, 5], "inputs", "FP32 [-1, 4], what mlp takes"),
    "an input of another type": ("inputs.0.datatype", "INT64", "inputs", "FP32 [-1, 4], what mlp takes"),
    "an output that the network does not give": ("outputs.0.shape", [-1, 3], "outputs[0].shape", "[-1, 2]"),
    "steps as a text": ("preprocess", "normalize", "preprocess", "a list of steps"),
    "a step without a name": ("preprocess", [{"stepp": "x"}], "preprocess[0].step", "one of"),
    "an unknown step": ("postprocess", [{"step": "softmx"}], "postprocess[0].step", "softmax"),
    "a step on the wrong side": ("preprocess", [{"step": "softmax"}], "preprocess[0].step", "in postprocess"),
    "rollout as a number": ("rollout", 3, "rollout", "{version: latest}"),
    "rollout to version 0": ("rollout", {"version": 0}, "rollout.version", "latest, or the number"),
    "rollout to a word": ("rollout", {"version": "newest"}, "rollout.version", "latest, or the number"),
    "rollout to true": ("rollout", {"version": True}, "rollout.version", "latest, or the number"),
    "memory in an unknown unit": ("resources", {"memory": "2Q"}, "resources.memory", "such as 512Mi"),
    "memory of nothing": ("resources", {"memory": 0}, "resources.memory", "such as 512Mi"),
    "a negative rate": ("resources", {"ratePerSecond": -1}, "resources.ratePerSecond", "above 0"),
    "a rate as a text": ("resources", {"ratePerSecond": "5"}, "resources.ratePerSecond", "above 0"),
}


@pytest.mark.parametrize(("path", "value", "field", "expected"), _BAD_FIELDS.values(), ids=_BAD_FIELDS.keys())
def test_a_bad_field_is_named_with_what_would_be_right(
    tmp_path: Path, path: str, value: object, field: str, expected: str
) -> None:
    """One problem, at the field's own path, says what would be right; the error names the file."""
    error = _refused(write_bot(tmp_path / "bot", changed(path, value)))
    matching = [problem for problem in error.problems if problem.field == field]
    assert len(matching) == 1 or field == "model.file", error
    assert any(expected in str(problem) for problem in matching), error
    assert error.document == str(tmp_path / "bot" / "bot.yaml")
    assert str(error).startswith(f"{error.document}: ")


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Problems of the fields, of the steps and of the model's file are all in one error."""
    document = {
        **text_bot(postprocess=[{"step": "softmax", "temprature": 2}], tenent="acme"),
        "id": "a b",
        "model": {"format": "safetensors", "file": "other.safetensors", "architecture": {"name": "linear"}},
        "resources": {"memory": "much"},
    }
    del document["tenant"]
    fields = {problem.field for problem in _refused(write_bot(tmp_path / "bot", document)).problems}
    assert fields >= {
        "id",
        "tenant",
        "tenent",
        "resources.memory",
        "model.architecture.inputs",
        "model.architecture.outputs",
        "model.file",
        "postprocess[0].temprature",
    }


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    """A request could not say which of the two it means."""
    document = changed("inputs", [GOOD["inputs"][0], GOOD["inputs"][0]])  # type: ignore[index]
    error = _refused(write_bot(tmp_path / "bot", document))
    assert any(problem.field == "inputs[1].name" for problem in error.problems)


def test_steps_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    """Three features for a network of four, and three labels for two outputs, are found before the first request."""
    model = {"format": "safetensors", "file": "model.safetensors"}
    wide = {**model, "architecture": {"name": "linear", "inputs": 4, "outputs": 2}}
    error = _refused(write_bot(tmp_path / "wide", text_bot(model=wide)))
    assert [problem.field for problem in error.problems] == ["preprocess"]
    assert "FP32 [-1, 4], what linear takes" in str(error)
    many = {**model, "architecture": {"name": "linear", "inputs": 3, "outputs": 3}}
    error = _refused(write_bot(tmp_path / "many", text_bot(model=many)))
    assert [problem.field for problem in error.problems] == ["postprocess[1].labels"]


def test_a_file_that_a_step_names_becomes_part_of_the_bot(tmp_path: Path) -> None:
    """Labels in a file are checked with it, listed with the model, and nothing else in the folder is."""
    post = [{"step": "softmax"}, {"step": "label", "labels": {"file": "labels.txt"}}]
    folder = write_bot(tmp_path / "bot", text_bot(postprocess=post))
    (folder / "README.md").write_text("not published")
    assert "labels.txt" in str(_refused(folder))
    (folder / "labels.txt").write_text("no\nyes\n")
    assert read_bot_folder(folder).files == (Path("labels.txt"), Path("model.safetensors"))


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "a/../../secret.txt", ".hidden", "link.txt", "pipe\0"], ids=repr
)
def test_a_step_cannot_name_a_file_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    """Neither by its path, nor through a link, nor a hidden one."""
    (tmp_path / "secret.txt").write_text("no\nyes\n")
    post = [{"step": "softmax"}, {"step": "label", "labels": {"file": name}}]
    folder = write_bot(tmp_path / "bot", text_bot(postprocess=post))
    (folder / ".hidden").write_text("no\nyes\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert any(problem.field.startswith("postprocess[1].labels") for problem in _refused(folder).problems)


_BAD_YAML: dict[str, tuple[bytes, str]] = {
    "a key twice": (b"id: a\nid: b\n", "line 2: must be a key that is not there yet"),
    "a key twice in a flow mapping": (b"model: {file: a, file: b}\n", "the key 'file' twice"),
    "a key that is a number": (b"1: a\n", "put the key in quotes"),
    "an open bracket": (b"inputs: [\n", "line 2, column 1: must be plain YAML"),
    "a tag": (b"id: !!python/object/apply:os.system [true]\n", "a plain value without a tag"),
    "two documents": (b"id: a\n---\nid: b\n", "plain YAML"),
    "other bytes": (b"id: \xff\n", "text in UTF-8"),
    "half a surrogate pair": (b'id: "\\ud800"\n', "must be"),
    "infinity": (b"id: .inf\n", "finite numbers"),
    "a hundred thousand brackets": (b"[" * 100_000, "nested at most 32 deep"),
    "an alias of itself": (b"&a [*a]\n", "nested at most 32 deep"),
    "a bomb of aliases": (
        b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)),
        "aliases expanded",
    ),
    "nothing": (b"", "a mapping with id"),
    "a list": (b"- id: a\n", "a mapping with id"),
}


@pytest.mark.parametrize(("data", "expected"), _BAD_YAML.values(), ids=_BAD_YAML.keys())
def test_a_file_that_is_not_plain_yaml_is_refused_with_its_line(tmp_path: Path, data: bytes, expected: str) -> None:
    """No key wins silently, nothing is built from tags, and no nesting exhausts the stack."""
    (tmp_path / "bot.yaml").write_bytes(data)
    assert expected in str(_refused(tmp_path))


def test_words_stay_words(tmp_path: Path) -> None:
    """Labels such as yes, no and on are text, as they are written; anchors and merged mappings work."""
    text = yaml.safe_dump(text_bot()).replace("'no'", "no").replace("'yes'", "yes")
    text = text.replace("- step: normalize", "- &n {step: normalize}\n- {<<: *n, lower: false}")
    assert "- no\n" in text
    folder = write_bot(tmp_path / "bot", text_bot())
    (folder / "bot.yaml").write_text(text)
    spec = read_bot_folder(folder).spec
    assert spec.postprocess[1]["labels"] == ["no", "yes"]
    assert spec.preprocess[:2] == ({"step": "normalize"}, {"step": "normalize", "lower": False})


def test_a_folder_without_bot_yaml_says_how_to_get_one(tmp_path: Path) -> None:
    """The way out stands in the error."""
    assert "botshard init" in str(_refused(tmp_path / "absent"))


def test_bot_yaml_itself_must_be_a_small_plain_file(tmp_path: Path) -> None:
    """A link, a folder and a file beyond the limit are refused before they are read."""
    folder = write_bot(tmp_path / "bot")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "bot.yaml").symlink_to(folder / "bot.yaml")
    assert "a link" in str(_refused(tmp_path / "linked"))
    (tmp_path / "nested" / "bot.yaml").mkdir(parents=True)
    assert "a folder" in str(_refused(tmp_path / "nested"))
    with pytest.raises(InvalidDocumentError, match="at most 10 B"):
        read_bot_folder(folder, limits=Limits(bot_file_bytes=10))


@pytest.mark.parametrize("document", [GOOD, text_bot(pin="p", resources={"memory": 5})], ids=["tensors", "text"])
def test_a_spec_comes_back_from_its_document_without_its_rollout(tmp_path: Path, document: dict[str, object]) -> None:
    """What a manifest holds is JSON, says everything but the rollout, and is read back equal."""
    spec = read_bot_folder(write_bot(tmp_path / "bot", {**document, "rollout": {"version": 1}})).spec
    stored = json.loads(json.dumps(spec_to_document(spec)))
    assert "rollout" not in stored
    assert spec_from_document(stored) == dataclasses.replace(spec, rollout=Rollout())


def test_a_damaged_spec_in_a_manifest_is_refused_by_name() -> None:
    """The reader of a manifest gets the same checks and its own name for the document."""
    with pytest.raises(InvalidDocumentError, match=r"manifest abc: model\.format: must be one of"):
        spec_from_document(changed("model.format", "pickle"), "manifest abc")


def test_the_schema_in_the_documentation_is_the_one_of_the_code(tmp_path: Path) -> None:
    """Editors check with `docs/bot.schema.json`; it is generated, and accepts what the reader accepts."""
    schema = json.loads((_DOCS / "bot.schema.json").read_text())
    assert schema == json.loads(json.dumps(bot_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(text_bot(rollout={"version": 2}, resources={"memory": "2Mi"})))
    assert list(validator.iter_errors(changed("framework", "pytorch")))
