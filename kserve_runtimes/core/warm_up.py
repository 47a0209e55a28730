"""A bot's first requests are its loader's: what is lazy happens then, what is broken shows, how long it takes is known.

A bot whose own sample fails is not served, so that a bad version never takes the place of a good one. Where its author
gave none, a row is made up of the declared inputs: zeros, a short text, 1 where a size is free. Such a row warms and
measures as well, but proves nothing: a bot may well refuse it, and is served nevertheless. A bot on a backbone gets
none: its encoder was warmed when it was loaded, and takes longer than what may run on the event loop.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from botshard.bots.samples import read_sample
from botshard.logs import fields
from botshard.oip.rest import InferenceRequest
from botshard.oip.tensors import DATATYPES, Tensor
from botshard.sharding.catalog import BotSpec, TensorSpec
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.errors import PredictFailedError, SampleFailedError

__all__ = ["made_up_row", "warm_up"]

log = logging.getLogger(__name__)

_TEXT: Final = b"hello"
_MOST_ELEMENTS: Final = 1 << 20
"""Beyond, a row is not made up: nobody said that the bot is ever asked for so much at once."""
_ENOUGH_S: Final = 0.001
"""What took longer on a second run is tried once more: a loader shares its core with whoever is busy."""
_PATIENCE_S: Final = 0.1
"""A bot that takes so long is not run again only to learn how long it takes."""
_MOST_RUNS: Final = 4


def warm_up(bot: LoadedBot, folder: Path, /) -> None:
    """Run the bot's sample, or a row that is made up, and note how long it takes. Blocks.

    Args:
        bot: not served yet.
        folder: its artifact's files.

    Raises: SampleFailedError; InvalidDocumentError for a sample that does not fit the declared inputs.
    """
    request = read_sample(bot.spec, folder)
    if request is not None:
        try:
            bot.sample_s = _warm_s(bot, request)
        except PredictFailedError as error:
            raise SampleFailedError(error.reason) from error
        except Exception as error:
            raise SampleFailedError(str(error)) from error
        return
    request = made_up_row(bot.spec)
    if request is None or bot.shared_bytes:
        return
    try:
        bot.sample_s = _warm_s(bot, request)
    except Exception as error:  # noqa: BLE001 - the row is ours, not its author's
        log.debug("bot refuses a row that was made up", extra=fields(bot=bot.id, reason=str(error)))


def made_up_row(spec: BotSpec, /) -> InferenceRequest | None:
    """One row of the declared inputs; None where it would be large."""
    shapes = [tuple(1 if size == -1 else size for size in tensor.shape) for tensor in spec.inputs]
    if sum(math.prod(shape) for shape in shapes) > _MOST_ELEMENTS:
        return None
    return InferenceRequest(
        {tensor.name: _made_up(tensor, shape) for tensor, shape in zip(spec.inputs, shapes, strict=True)}
    )


def _made_up(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    if spec.datatype == "BYTES":
        return Tensor(spec.name, spec.datatype, shape, [_TEXT] * math.prod(shape))
    return Tensor(spec.name, spec.datatype, shape, np.zeros(shape, DATATYPES[spec.datatype]))


def _warm_s(bot: LoadedBot, request: InferenceRequest) -> float:
    """Seconds of the shortest of a few runs, one where that takes long already."""
    started_s = perf_counter()
    took_s = _run_s(bot, request)
    for _ in range(1, 1 if bot.shared_bytes else _MOST_RUNS):
        if perf_counter() - started_s > _PATIENCE_S:
            break
        took_s = min(took_s, _run_s(bot, request))
        if took_s <= _ENOUGH_S:
            break
    return took_s


def _run_s(bot: LoadedBot, request: InferenceRequest) -> float:
    started_s = perf_counter()
    outputs = bot.predict(request.inputs)
    bot.codec.encode(outputs, request)
    return perf_counter() - started_s
