"""From a declaration to something that runs: `check_steps` at publish, `compile_pipeline` on a replica.

Both compile the same way; the check just lets go of the result. A pipeline keeps nothing between batches and may be
used by several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from botshard.oip.errors import InvalidInputError
from botshard.oip.tensors import Array, Tensor
from botshard.processing.frame import Frame, check_lengths
from botshard.processing.outputs import check_outputs, output_tensor
from botshard.processing.registry import find_step, step_names
from botshard.processing.scope import Scope
from botshard.processing.step import Apply, Phase, closest, read_parameters
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = ["Pipeline", "check_steps", "compile_pipeline"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A bot's steps, compiled."""

    model_inputs: tuple[TensorSpec, ...]
    """What the model gets: the declared inputs, or what the steps make of them."""
    outputs: tuple[TensorSpec, ...]
    _before: tuple[Apply, ...]
    _after: tuple[Apply, ...]
    _used_texts: tuple[str, ...]
    _asked_texts: tuple[str, ...]

    def before(self, inputs: Mapping[str, Tensor]) -> dict[str, Array]:
        """What the model gets: `{name: (rows, ...) array}`, in the order of `model_inputs`.

        Args:
            inputs: decoded and fitting the declared inputs.

        Raises: InvalidInputError for a text that is not UTF-8 or too long.
        """
        if not self._before:
            return {name: tensor.numpy() for name, tensor in inputs.items()}
        frame = Frame(rows=next(iter(inputs.values())).rows)
        for name, tensor in inputs.items():
            if name in self._used_texts:
                frame.texts[name] = _texts(tensor)
            else:
                frame.tensors[name] = tensor.numpy()
        for apply in self._before:
            apply(frame)
        return {spec.name: _model_input(frame, spec.name, inputs) for spec in self.model_inputs}

    def after(self, model_outputs: Mapping[str, Array], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the client gets: the declared outputs, in their order.

        Args:
            model_outputs: what the model gave for these rows, by name.
            inputs: the request's tensors that `before` was given.

        Raises: ModelOutputError when the model does not give what the bot declares.
        """
        rows = next(iter(inputs.values())).rows
        if not self._after and len(self.outputs) == 1 == len(model_outputs):  # whatever the model calls it
            (spec,), (value,) = self.outputs, model_outputs.values()
            return {spec.name: output_tensor(spec, value, rows)}
        asked = {name: _texts(inputs[name]) for name in self._asked_texts}
        frame = Frame(rows=rows, given=model_outputs, asked=asked)
        for apply in self._after:
            apply(frame)
        return {
            spec.name: output_tensor(spec, frame.texts.get(spec.name) or frame.tensor(spec.name), rows)
            for spec in self.outputs
        }


def check_steps(
    preprocess: Sequence[object],
    postprocess: Sequence[object],
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    files: Container[str] = (),
    read: Callable[[str], bytes] | None = None,
) -> list[Problem]:
    """Everything that is wrong with a bot's steps; fields are named as in `bot.yaml`.

    Args:
        preprocess: the declared steps before the model.
        postprocess: the declared steps after it.
        inputs: the bot's declared inputs.
        outputs: the bot's declared outputs.
        files: names of the files in the bot's folder.
        read: reads one of them, so that their contents are checked too.
    """
    return _compile(preprocess, postprocess, inputs, outputs, (files, read))[1]


def compile_pipeline(spec: BotSpec, folder: Path) -> Pipeline:
    """Compiles a bot's steps; vocabularies and label files are read from `folder`.

    Raises: InvalidDocumentError with every problem.
    """
    files = _FolderFiles(folder)
    pipeline, problems = _compile(spec.preprocess, spec.postprocess, spec.inputs, spec.outputs, (files, files.read))
    if problems:
        raise InvalidDocumentError(f"bot {spec.id}", problems)
    return pipeline


@dataclass(frozen=True, slots=True)
class _FolderFiles:
    """The files of a folder, seen as a container of their names."""

    folder: Path

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and "\0" not in name and (self.folder / name).is_file()

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def _compile(
    preprocess: Sequence[object],
    postprocess: Sequence[object],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    artifact: tuple[Container[str], Callable[[str], bytes] | None],
) -> tuple[Pipeline, list[Problem]]:
    files, read = artifact
    before_scope = Scope(inputs, files, read)
    before = _compile_phase(preprocess, Phase.PRE, before_scope)
    after_scope = Scope(inputs, files, read, problems=before_scope.problems)
    after = _compile_phase(postprocess, Phase.POST, after_scope)
    problems = after_scope.problems
    if postprocess and not after_scope.has_gaps:
        problems += check_outputs(outputs, after_scope.columns)
    pipeline = Pipeline(
        model_inputs=_model_inputs(before_scope),
        outputs=tuple(outputs),
        _before=before,
        _after=after,
        _used_texts=tuple(before_scope.used_texts),
        _asked_texts=tuple(after_scope.asked_texts),
    )
    return pipeline, problems


def _compile_phase(entries: Sequence[object], phase: Phase, scope: Scope) -> tuple[Apply, ...]:
    compiled: list[Apply] = []
    for index, entry in enumerate(entries):
        scope.step = f"{phase.value}[{index}]"
        apply = _compile_step(entry, phase, scope)
        if apply is None:
            scope.has_gaps = True
        else:
            compiled.append(apply)
    return tuple(compiled)


def _compile_step(entry: object, phase: Phase, scope: Scope) -> Apply | None:
    if not isinstance(entry, Mapping) or not all(isinstance(key, str) for key in entry):
        scope.problem("", entry, "a step, as in {step: NAME, ...}")
        return None
    name = entry.get("step")
    step = find_step(name) if isinstance(name, str) else None
    if step is None:
        names = step_names(phase)
        near = closest(name, names) if isinstance(name, str) else ""
        scope.problem("step", name, f"one of {', '.join(names)}{near}")
        return None
    if step.phase is not phase:
        scope.problem("step", name, f"in {step.phase.value}; here stand {', '.join(step_names(phase))}")
        return None
    parameters: Any
    parameters, problems = read_parameters(step, entry, scope.step)
    scope.problems += problems
    return None if parameters is None else step.compile(parameters, scope)


def _model_inputs(scope: Scope) -> tuple[TensorSpec, ...]:
    """Inputs that no step took, then (in their order among them) what steps made."""
    specs: list[TensorSpec] = []
    columns = dict(scope.columns)
    for spec in scope.inputs:
        column = columns.pop(spec.name, None)
        if column is not None:
            specs.append(TensorSpec(spec.name, column.datatype, (-1, column.width or -1)))
        elif spec.name not in scope.vectorised:
            specs.append(spec)
    specs += [TensorSpec(name, column.datatype, (-1, column.width or -1)) for name, column in columns.items()]
    return tuple(specs)


def _model_input(frame: Frame, name: str, inputs: Mapping[str, Tensor]) -> Array:
    tensor = frame.tensors.get(name)
    if tensor is not None:
        return tensor
    array = np.empty(frame.rows, dtype=object)
    array[:] = [text.encode() for text in frame.texts[name]]
    return array.reshape(inputs[name].shape)


def _texts(tensor: Tensor) -> list[str]:
    if not isinstance(tensor.data, list):
        raise InvalidInputError(tensor.name, f"must be BYTES, found {tensor.datatype}")
    try:
        texts = [value.decode() for value in tensor.data]
    except UnicodeDecodeError as error:
        row = next(index for index, value in enumerate(tensor.data) if value == error.object)
        raise InvalidInputError(tensor.name, f"text must be UTF-8; byte {error.start} of row {row} is not") from error
    check_lengths(tensor.name, texts)
    return texts
