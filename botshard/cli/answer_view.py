"""What a bot answered, row by row. Pure: an answer of the router in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from botshard.cli.router_client import RouterAnswer
from botshard.oip.client import InferenceResponse, decode_response
from botshard.oip.errors import InvalidAnswerError
from botshard.oip.headers import BOT_VERSION, EPOCH, POOL
from botshard.oip.tensors import Tensor

__all__ = ["Prediction", "predictions_of", "short_outputs"]

_LABEL, _SCORE = "label", "score"
_SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of a request and its answer; `error` says why there is none."""

    text: str | None
    """None: the request was made of tensors, and `outputs` are those of all its rows."""
    label: str | None
    """The output `label`, or the only text among the outputs."""
    score: float | None
    """The output `score`."""
    outputs: Mapping[str, object]
    version: str | None
    pool: str | None
    epoch: str | None
    took_s: float
    """Of the whole request, as seen here."""
    status: int
    error: str | None = None


def predictions_of(answer: RouterAnswer, texts: Sequence[str] | None, /) -> list[Prediction]:
    """One prediction a text, or one alone for a request of tensors."""
    try:
        response = decode_response(answer.body) if answer.is_good else None
        error = None if response else answer.error
        rows = _rows(response, texts) if response else [{} for _ in texts or (None,)]
    except InvalidAnswerError as problem:
        response, error, rows = None, str(problem), [{} for _ in texts or (None,)]
    shown: Sequence[str | None] = texts if texts is not None else (None,)
    return [_prediction(text, outputs, answer, response, error) for text, outputs in zip(shown, rows, strict=True)]


def short_outputs(outputs: Mapping[str, object], /) -> str:
    """All outputs in one line, shortened."""
    text = ", ".join(f"{name}={value}" for name, value in outputs.items())
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def _prediction(
    text: str | None,
    outputs: Mapping[str, object],
    answer: RouterAnswer,
    response: InferenceResponse | None,
    error: str | None,
) -> Prediction:
    label, score = outputs.get(_LABEL), outputs.get(_SCORE)
    if not isinstance(label, str):
        texts = [value for value in outputs.values() if isinstance(value, str)]
        label = texts[0] if len(texts) == 1 else None
    return Prediction(
        text=text,
        label=label,
        score=float(score) if isinstance(score, int | float) else None,
        outputs=outputs,
        version=answer.headers.get(BOT_VERSION) or (response.model_version if response else None),
        pool=answer.headers.get(POOL),
        epoch=answer.headers.get(EPOCH),
        took_s=round(answer.took_s, 6),
        status=answer.status,
        error=error,
    )


def _rows(response: InferenceResponse, texts: Sequence[str] | None) -> list[dict[str, object]]:
    if texts is None:
        return [{name: _values(tensor) for name, tensor in response.outputs.items()}]
    for name, tensor in response.outputs.items():
        if tensor.rows != len(texts):
            raise InvalidAnswerError(f"output {name!r} has {tensor.rows} rows for {len(texts)} texts")
    values = {name: _values(tensor) for name, tensor in response.outputs.items()}
    return [{name: _alone(rows, index) for name, rows in values.items()} for index in range(len(texts))]


def _values(tensor: Tensor) -> object:
    """Nested lists in the tensor's shape; text decoded, whatever it is."""
    values: object = tensor.numpy().tolist()
    return _decoded(values) if tensor.datatype == "BYTES" else values


def _decoded(value: object) -> object:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _alone(rows: object, index: int) -> object:
    row = rows[index] if isinstance(rows, list) else rows
    return row[0] if isinstance(row, list) and len(row) == 1 else row
