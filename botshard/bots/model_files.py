"""The files of a model: which they are, and whether loading them is safe and will work. Nothing in them is executed.

No framework is imported: publishing runs where none is installed, and reading a file with the
library that is to be protected from it would protect nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from botshard.bots.architectures import read_architecture
from botshard.bots.limits import Limits
from botshard.bots.pickles import find_pickle
from botshard.sharding.errors import Problem
from botshard.sharding.units import format_bytes

__all__ = ["check_model_files", "path_problem"]

_FIELD = "model.file"


def check_model_files(
    folder: Path, model: Mapping[str, object], /, *, framework: str | None, limits: Limits
) -> tuple[tuple[Path, ...], list[Problem]]:
    """The model's files relative to `folder`, sorted, and every problem of theirs.

    Args:
        folder: the bot's folder, or the folder of a fetched artifact.
        model: the model section of a spec: `format`, `file`, `architecture`.
        framework: for the way out that an error shows; None where it is not known.
        limits: bounds on the sum and the number of the files.
    """
    path = folder / str(model["file"])
    is_folder = model["format"] == "savedmodel" or (model["format"] == "kserve" and path.is_dir())
    problem = path_problem(folder, path, is_folder=is_folder) or find_pickle(path, framework)
    if problem is not None:
        return (), [problem]
    files, problems = _files_below(path, limits) if path.is_dir() else ([path], [])
    total_bytes = sum(file.stat().st_size for file in files)
    if model["format"] == "onnx" and total_bytes <= limits.artifact_bytes:
        from botshard.bots.onnx_model import external_files

        beside = external_files(path)
        files += beside
        total_bytes += sum(file.stat().st_size for file in beside)
    if total_bytes > limits.artifact_bytes:
        most = f"at most {format_bytes(limits.artifact_bytes)}"
        problems.append(Problem(_FIELD, format_bytes(total_bytes), f"of {most} (a publisher can allow more)"))
    if not problems:
        problems = _check_content(folder, path, files, model, limits)
    return tuple(sorted(file.relative_to(folder) for file in files)), problems


def _check_content(
    folder: Path, path: Path, files: Sequence[Path], model: Mapping[str, object], limits: Limits
) -> list[Problem]:
    """Imports what reads the format: a replica has one or two of them, and answers its first request after that."""
    match model["format"]:
        case "safetensors":
            from botshard.bots.safetensors_file import check_safetensors

            architecture, _ = read_architecture(model.get("architecture"), "model.architecture")
            return check_safetensors(path, architecture)
        case "torch-export":
            from botshard.bots.torch_export import check_torch_export

            return check_torch_export(path, limits)
        case "keras":
            from botshard.bots.keras_archive import check_keras

            return check_keras(path, limits)
        case "onnx":
            from botshard.bots.onnx_model import check_onnx

            return check_onnx(path, folder)
        case "kserve":  # what they mean is the class's to know; that they are no code is ours
            found = (find_pickle(file, "kserve") for file in files)
            return [problem for problem in found if problem is not None]
        case _:
            from botshard.bots.saved_model import check_saved_model

            return check_saved_model(path)


def path_problem(folder: Path, path: Path, /, *, is_folder: bool = False) -> Problem | None:
    """What is wrong with the path itself: absent, a link at any of its parts, neither file nor folder."""
    kind = "a folder (a SavedModel)" if is_folder else "a file"
    step = folder
    for part in path.relative_to(folder).parts:
        step /= part
        try:
            mode = step.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return Problem(_FIELD, f"nothing at {path}", f"{kind} that is there")
        if stat.S_ISLNK(mode):
            return Problem(_FIELD, f"a symbolic link at {step}", f"{kind} itself, inside the bot's folder")
    if not (stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode)):
        return Problem(_FIELD, f"something else at {path}", kind)
    return None


def _files_below(folder: Path, limits: Limits) -> tuple[list[Path], list[Problem]]:
    files: list[Path] = []
    for path, mode in _walk(folder):
        if not stat.S_ISREG(mode):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "something that is no file"
            return files, [Problem(_FIELD, f"{what} at {path}", "a folder of plain files")]
        files.append(path)
        if len(files) > limits.artifact_files:
            return files, [Problem(_FIELD, "more files", f"a folder of at most {limits.artifact_files} files")]
    return files, []


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Everything below that is not a folder and not hidden, with its mode; links are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path), entry.stat(follow_symlinks=False).st_mode
