"""Reading a bot's folder: `bot.yaml` and the files that it names, checked whole, every problem at once."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from botshard.bots.architectures import Architecture
from botshard.bots.limits import Limits
from botshard.bots.model_files import check_model_files
from botshard.bots.onnx_model import load_onnx
from botshard.bots.onnx_signature import check_signature
from botshard.bots.samples import check_sample
from botshard.bots.spec_document import Reading, read_document
from botshard.bots.step_files import StepFiles
from botshard.bots.strict_yaml import read_yaml
from botshard.processing import check_steps, compile_pipeline
from botshard.sharding.catalog import BotSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.units import format_bytes

__all__ = ["BOT_FILE", "BotFolder", "read_bot_folder"]

BOT_FILE = "bot.yaml"

_WHOLE_NUMBERS = frozenset({"INT32", "INT64"})  # either names a token: a runtime widens


@dataclass(frozen=True, slots=True)
class BotFolder:
    """A folder that was found to be a bot."""

    folder: Path
    spec: BotSpec
    files: tuple[Path, ...]
    """Files of model, steps and sample, relative to the folder, sorted. What else lies there is not published."""


def read_bot_folder(folder: Path, /, *, limits: Limits | None = None) -> BotFolder:
    """The bot in `folder`. Nothing in it is executed.

    Raises: InvalidDocumentError with every problem of `bot.yaml` and of the files.
    """
    limits = limits or Limits()
    path = folder / BOT_FILE
    reading = read_document(read_yaml(_read(path, limits.bot_file_bytes), str(path)))
    step_files = StepFiles(folder, limits)
    model_files, found = _check_model(folder, reading, limits)
    problems = [*reading.problems, *_check_steps(reading, step_files), *found]
    problems += _check_sample(reading, step_files, limits)
    if reading.spec is not None and not problems and reading.architecture is not None:
        problems = _check_model_input(reading.spec, folder, reading.architecture)
        problems += _check_labels(reading.spec, reading.architecture)
    if reading.spec is not None and not problems and reading.spec.model["format"] == "onnx":
        problems = _check_onnx_signature(reading.spec, folder)
    if reading.spec is None or problems:
        raise InvalidDocumentError(str(path), problems)
    return BotFolder(folder, reading.spec, tuple(sorted({*model_files, *step_files.used})))


def _read(path: Path, most_bytes: int) -> bytes:
    """The file's bytes; refused before it is opened where it is no plain file (a pipe would never end)."""
    document, expected = str(path), "a plain file of at most " + format_bytes(most_bytes)
    try:
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= most_bytes else None
    except (FileNotFoundError, NotADirectoryError) as error:
        expected = "a bot's description; `botshard init FOLDER` writes one to start from"
        raise InvalidDocumentError(document, [Problem("", "no such file", expected)]) from error
    except OSError as error:
        raise InvalidDocumentError(document, [Problem("", error.strerror or str(error), "readable")]) from error
    if data is None:
        plain = stat.S_ISREG(status.st_mode)
        found = format_bytes(status.st_size) if plain else "a link, a folder or a device"
        raise InvalidDocumentError(document, [Problem("", found, expected)])
    return data


def _check_steps(reading: Reading, files: StepFiles) -> list[Problem]:
    document = reading.document
    if document is None or not reading.are_sound("inputs", "outputs", "preprocess", "postprocess"):
        return []
    return check_steps(
        document.preprocess,
        document.postprocess,
        inputs=[tensor.to_spec() for tensor in document.inputs],
        outputs=[tensor.to_spec() for tensor in document.outputs],
        files=files,
        read=files.read,
    )


def _check_sample(reading: Reading, files: StepFiles, limits: Limits) -> list[Problem]:
    document = reading.document
    if document is None or document.sample is None or not reading.are_sound("inputs", "outputs", "sample"):
        return []
    return check_sample(
        document.sample,
        inputs=[tensor.to_spec() for tensor in document.inputs],
        outputs=[tensor.to_spec() for tensor in document.outputs],
        files=files,
        most_bytes=limits.sample_bytes,
    )


def _check_model(folder: Path, reading: Reading, limits: Limits) -> tuple[tuple[Path, ...], list[Problem]]:
    document = reading.document
    if document is None or not reading.are_sound("model"):
        return (), []
    framework = document.framework if reading.are_sound("framework") else None
    return check_model_files(folder, document.model.to_document(), framework=framework, limits=limits)


def _check_model_input(spec: BotSpec, folder: Path, architecture: Architecture) -> list[Problem]:
    """Does what the client sends, after the steps, fit the network?"""
    if spec.backbone is not None:
        return _check_head_input(spec, folder)
    wanted = f"{architecture.input_datatype} {list(architecture.input_shape)}, what {architecture.kind} takes"
    where, how = ("preprocess", "steps that end in") if spec.preprocess else ("inputs", "one tensor of")
    given = compile_pipeline(spec, folder).model_inputs
    if len(given) == 1:
        same_kind = {given[0].datatype, architecture.input_datatype} <= _WHOLE_NUMBERS
        same_rank = len(given[0].shape) == len(architecture.input_shape)
        sizes = zip(given[0].shape, architecture.input_shape, strict=False)
        fits = all(other in (one, -1) or (one == -1 and spec.preprocess) for one, other in sizes)
        if same_rank and fits and (same_kind or given[0].datatype == architecture.input_datatype):
            return []
    found = ", ".join(f"{tensor.name}: {tensor.datatype} {list(tensor.shape)}" for tensor in given)
    return [Problem(where, found or "no tensor", f"{how} {wanted}")]


def _check_head_input(spec: BotSpec, folder: Path) -> list[Problem]:
    """Does the backbone get one text a row?"""
    given = compile_pipeline(spec, folder).model_inputs
    if len(given) == 1 and given[0].datatype == "BYTES" and given[0].shape in ((-1,), (-1, 1)):
        return []
    where, how = ("preprocess", "steps that leave") if spec.preprocess else ("inputs", "one tensor of")
    found = ", ".join(f"{tensor.name}: {tensor.datatype} {list(tensor.shape)}" for tensor in given)
    return [Problem(where, found or "no tensor", f"{how} BYTES [-1, 1], the text that backbone {spec.backbone} takes")]


def _check_onnx_signature(spec: BotSpec, folder: Path) -> list[Problem]:
    """Does what the client sends, after the steps, fit the graph, and what it gives the declared outputs?"""
    graph = load_onnx(folder / str(spec.model["file"])).graph
    if graph is None:
        return []
    return check_signature(
        graph,
        given=compile_pipeline(spec, folder).model_inputs,
        outputs=spec.outputs,
        has_steps_before=bool(spec.preprocess),
        has_steps_after=bool(spec.postprocess),
    )


def _check_labels(spec: BotSpec, architecture: Architecture) -> list[Problem]:
    """A step that labels the network's scores needs a label for each of them."""
    problems = []
    for index, step in enumerate(spec.postprocess):
        labels = step.get("labels")
        if isinstance(labels, list) and step.get("input") is None and len(labels) != architecture.output_count:
            expected = f"{architecture.output_count} labels, one for each output of the {architecture.kind}"
            problems.append(Problem(f"postprocess[{index}].labels", f"{len(labels)} labels", expected))
    return problems
