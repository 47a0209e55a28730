"""A bot's own sample request: checked when the bot is published, and run by each replica before it serves the bot.

It is the body of an infer request as a client would send it, in JSON. Publishing executes nothing, so all that it can
say is whether the request fits the declared inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from botshard.bots.step_files import StepFiles
from botshard.oip.errors import InvalidInputError
from botshard.oip.rest import InferenceRequest, decode_request
from botshard.sharding.catalog import BotSpec, TensorSpec
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.units import format_bytes

__all__ = ["check_sample", "read_sample"]

_FIELD = "sample"
_FITTING = "a file with the JSON body of an infer request for the declared inputs"


def check_sample(
    name: str,
    /,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    files: StepFiles,
    most_bytes: int,
) -> list[Problem]:
    """What is wrong with the sample that `bot.yaml` names; the file becomes part of the bot."""
    if name not in files:
        return [Problem.of(_FIELD, name, "a plain file in the bot's folder")]
    data = files.read(name)
    if len(data) > most_bytes:
        return [Problem(_FIELD, format_bytes(len(data)), f"a file of at most {format_bytes(most_bytes)}")]
    try:
        decode_request(data, inputs=inputs, outputs=outputs)
    except InvalidInputError as error:
        return [_misfit(name, error)]
    return []


def read_sample(spec: BotSpec, folder: Path, /) -> InferenceRequest | None:
    """The sample of a bot whose artifact's files are in `folder`; None: it has none.

    Raises: InvalidDocumentError where it is absent or does not fit.
    """
    if spec.sample is None:
        return None
    path = folder / spec.sample
    try:
        return decode_request(path.read_bytes(), inputs=spec.inputs, outputs=spec.outputs)
    except InvalidInputError as error:
        raise InvalidDocumentError(f"bot {spec.id}", [_misfit(spec.sample, error)]) from error
    except OSError as error:
        problem = Problem(_FIELD, f"{error.strerror} at {path}", "a file of the artifact")
        raise InvalidDocumentError(f"bot {spec.id}", [problem]) from error


def _misfit(name: str, error: InvalidInputError) -> Problem:
    return Problem(_FIELD, f"{name}, of which {error}" if error.tensor else f"{name}: {error}", _FITTING)
