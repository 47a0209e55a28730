"""Runs steps the way a replica does: declared, compiled, given a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from botshard.oip.tensors import Tensor
from botshard.processing import Pipeline, check_steps, compile_pipeline
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.ids import BotId, Framework, GroupName, TenantId

Declared = Mapping[str, object]
Values = np.ndarray[Any, Any]

TEXT = (TensorSpec("text", "BYTES", (-1, 1)),)
SCORES = (TensorSpec("scores", "FP32", (-1, -1)),)


def spec(
    preprocess: Sequence[Declared] = (),
    postprocess: Sequence[Declared] = (),
    *,
    inputs: Sequence[TensorSpec] = TEXT,
    outputs: Sequence[TensorSpec] = SCORES,
) -> BotSpec:
    """A bot with these steps."""
    return BotSpec(
        id=BotId("b"),
        tenant=TenantId("t"),
        group=GroupName("g"),
        framework=Framework("torch"),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        model={},
        preprocess=tuple(preprocess),
        postprocess=tuple(postprocess),
    )


def pipeline(
    preprocess: Sequence[Declared] = (),
    postprocess: Sequence[Declared] = (),
    *,
    folder: Path | None = None,
    **tensors: Any,
) -> Pipeline:
    """The compiled steps of such a bot."""
    return compile_pipeline(spec(preprocess, postprocess, **tensors), folder or Path("/nonexistent"))


def texts_after(steps: Sequence[Declared], texts: Sequence[str]) -> list[str]:
    """What becomes of texts."""
    array = pipeline(steps).before({"text": Tensor.of("text", texts)})["text"]
    return [value.decode() for value in array.ravel().tolist()]


def features(step: Declared, texts: Sequence[str], *, folder: Path | None = None) -> Values:
    """What a vectoriser makes of texts."""
    return pipeline([step], folder=folder).before({"text": Tensor.of("text", texts)})["text"]


def answer(
    steps: Sequence[Declared],
    outputs: Sequence[tuple[str, str, tuple[int, ...]]],
    given: Values | Mapping[str, Values],
    *,
    texts: Sequence[str] | None = None,
    folder: Path | None = None,
) -> dict[str, list[Any]]:
    """The outputs that steps make of what a model gives, as nested lists, texts decoded."""
    by_name = {"model_output": given} if isinstance(given, np.ndarray) else given
    rows = len(next(iter(by_name.values())))
    compiled = pipeline(postprocess=steps, outputs=[TensorSpec(*output) for output in outputs], folder=folder)
    made = compiled.after(by_name, {"text": Tensor.of("text", texts or ["?"] * rows)})
    assert list(made) == [name for name, _, _ in outputs]
    return {name: _lists(tensor) for name, tensor in made.items()}


def _lists(tensor: Tensor) -> list[Any]:
    array = tensor.numpy()
    if tensor.datatype == "BYTES":
        array = np.array([value.decode() for value in array.ravel()], dtype=object).reshape(tensor.shape)
    values: list[Any] = array.tolist()
    return values


def problems(
    preprocess: Sequence[object] = (),
    postprocess: Sequence[object] = (),
    *,
    inputs: Sequence[TensorSpec] = TEXT,
    outputs: Sequence[TensorSpec] = SCORES,
    files: Mapping[str, bytes] | None = None,
) -> list[str]:
    """Everything that is wrong with such a bot, as text."""
    known = files or {}
    found = check_steps(
        preprocess, postprocess, inputs=inputs, outputs=outputs, files=known, read=lambda name: known[name]
    )
    return [str(problem) for problem in found]


def post_problems(steps: Sequence[object], **files: Any) -> list[str]:
    """What is wrong with steps after the model, outputs left aside."""
    return problems(postprocess=steps, outputs=(), **files)
