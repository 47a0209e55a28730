"""Keras files and SavedModels: ordinary ones are accepted, those that could do more than compute are refused."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from botshard.bots.keras_archive import check_keras
from botshard.bots.limits import Limits
from botshard.bots.model_files import check_model_files
from botshard.bots.protobuf_wire import fields

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of `tests.bots.tensorflow_models`."""
    folder = tmp_path_factory.mktemp("tensorflow-models")
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-m", "tests.bots.tensorflow_models", folder], cwd=_ROOT, env=environ, check=True)
    return folder


def _problems(models: Path, name: str) -> list[str]:
    model = {"format": "savedmodel" if (models / name).is_dir() else "keras", "file": name}
    return [str(problem) for problem in check_model_files(models, model, framework="tensorflow", limits=Limits())[1]]


@pytest.mark.parametrize("name", ["good.keras", "text.keras", "wide.keras", "good", "text", "wide", "module"])
def test_what_keras_and_tensorflow_write_is_accepted(models: Path, name: str) -> None:
    """Dense, text, recurrent, convolutional and attention layers, loops and modules need nothing that is refused."""
    assert _problems(models, name) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lambda.keras", "a Lambda layer"),
        ("function.keras", "a function of its own"),
        ("module.keras", "the class 'subprocess.InputLayer'"),
        ("own-class.keras", "the class 'acme>_Own'"),
        ("torch.keras", "a TorchModuleWrapper layer"),
        ("file.keras", "the file name '/etc/hostname'"),
        ("legacy.h5", "legacy HDF5"),
        ("py-function", "the operator 'EagerPyFunc'"),
        ("numpy-function", "the operator 'PyFunc'"),
        ("reads", "the operator 'ReadFile'"),
        ("writes", "the operator 'WriteFile'"),
        ("lists", "the operator 'MatchingFiles'"),
        ("prints", "the operator 'PrintV2'"),
        ("restores", "a RestoreV2 of another file"),
        ("calls-its-saver", "a call of '__inference__traced_save"),
        ("exports-its-saver", "a call of '__inference__traced_save"),
        ("fills-the-file-name", "a call of a saver"),
        ("two-graphs", "saved_model.pbtxt"),
        ("damaged", "a damaged saved_model.pb"),
    ],
)
def test_a_model_that_could_do_more_than_compute_is_refused(models: Path, name: str, found: str) -> None:
    """Each real model is refused for what it would do, with what would be right."""
    (problem,) = _problems(models, name)
    assert found in problem
    assert problem.startswith("model.file: must be a")


def test_a_legacy_model_by_another_name_is_still_one(models: Path, tmp_path: Path) -> None:
    """HDF5 is known by its first bytes."""
    (tmp_path / "model.keras").write_bytes((models / "legacy.h5").read_bytes())
    assert "legacy HDF5" in _problems(tmp_path, "model.keras")[0]


@pytest.mark.parametrize("left_out", ["saved_model.pb", "variables"])
def test_a_folder_that_is_no_saved_model_is_refused(models: Path, tmp_path: Path, left_out: str) -> None:
    """Graph and variables have to be there."""
    for path in (models / "good").rglob("*"):
        target = tmp_path / "model" / path.relative_to(models / "good")
        if path.is_file() and left_out not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert "without saved_model.pb and variables/" in _problems(tmp_path, "model")[0]


def test_hidden_files_of_a_saved_model_are_left_out_and_links_are_refused(models: Path, tmp_path: Path) -> None:
    """What an editor leaves behind is not published; what points elsewhere stops it."""
    folder = tmp_path / "model"
    for path in (models / "good").rglob("*"):
        if path.is_file():
            (folder / path.relative_to(models / "good")).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(models / "good")).write_bytes(path.read_bytes())
    (folder / ".DS_Store").write_text("x")
    (folder / ".git").mkdir()
    model = {"format": "savedmodel", "file": "model"}
    files, problems = check_model_files(tmp_path, model, framework="tensorflow", limits=Limits())
    assert not problems
    assert {path.as_posix() for path in files} >= {"model/saved_model.pb", "model/variables/variables.index"}
    assert not any(part.startswith(".") for path in files for part in path.parts)
    (folder / "assets" / "x").parent.mkdir(exist_ok=True)
    (folder / "assets" / "x").symlink_to("/etc/hostname")
    assert "a symbolic link" in _problems(tmp_path, "model")[0]
    (folder / "assets" / "x").unlink()
    os.mkfifo(folder / "assets" / "x")
    assert "no file" in _problems(tmp_path, "model")[0]
    (folder / "assets" / "x").unlink()
    model_limits = Limits(artifact_files=2)
    assert "at most 2 files" in str(check_model_files(tmp_path, model, framework=None, limits=model_limits)[1][0])


@pytest.mark.parametrize(
    ("name", "found"), [("evil.py", "'evil.py'"), ("../x", "with the name"), ("CONFIG.json", "twice")]
)
def test_a_keras_file_with_other_files_in_it_is_refused(models: Path, tmp_path: Path, name: str, found: str) -> None:
    """Only what Keras writes is in it."""
    path = tmp_path / "model.keras"
    path.write_bytes((models / "good.keras").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    assert found in str(check_keras(path, Limits())[0])


@pytest.mark.parametrize(
    "config", [b"{", b"[]", b"{}", b"[" * 50_000, b'{"a": NaN}'], ids=["cut", "list", "empty", "deep", "nan"]
)
def test_a_keras_file_with_a_bad_config_is_refused(models: Path, tmp_path: Path, config: bytes) -> None:
    """Damage and nesting end in a refusal."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"")
    assert len(check_keras(path, Limits())) == 1


@pytest.mark.parametrize(
    "message", [b"\x80", b"\x0a\x05ab", b"\xff" * 11, b"\x0b", b"\x09\x00", b"\x0d\x00"], ids=bytes.hex
)
def test_a_damaged_message_never_reads_outside_of_itself(message: bytes) -> None:
    """Cut numbers, lengths behind the end and unknown kinds are errors."""
    with pytest.raises(ValueError, match=r"cut off|behind|wire type|64 bits"):
        list(fields(memoryview(message)))
