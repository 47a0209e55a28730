"""`botshard predict`: a question to a bot, through the router, as any client would send it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from botshard.cli.errors import CommandError, WrongUsageError
from botshard.cli.options import AsJson, BotArgument, FolderOption, UrlOption
from botshard.cli.output import Column, note, print_document, print_table, progress_bar

if TYPE_CHECKING:
    from botshard.cli.answer_view import Prediction
    from botshard.cli.router_client import RouterAnswer, RouterClient
    from botshard.sharding.catalog import TensorSpec

__all__ = ["predict"]

_STDIN = "-"
_NOT_FOUND = 404
_MOST_COMPARED = 50_000
"""Ids that are compared for a near one: about two seconds."""


def predict(
    bot: BotArgument,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="Texts; - reads one a line from stdin.")
    ] = None,
    *,
    tensor: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=JSON", help="An input of a bot that takes tensors; NAME=@FILE reads a file."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Texts in one request.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds to wait for an answer.")] = 60.0,
    url: UrlOption = None,
    folder: FolderOption = None,
    as_json: AsJson = False,
) -> None:
    """Ask a bot through the router.

    Examples:
      botshard predict acme-banking "where is my card"

      botshard predict acme-banking "hello" "good bye" --json

      botshard predict acme-banking - --batch 32 < questions.txt

      botshard predict acme-scores --tensor "x=[[1, 2, 3, 4]]" --url http://127.0.0.1:8080
    """
    from botshard.cli.context import api_key, find_place, router_url
    from botshard.cli.looking import checked_ids
    from botshard.cli.questions import read_inputs
    from botshard.cli.router_client import RouterClient

    if bool(texts) == bool(tensor):
        raise WrongUsageError("give texts, or - to read them from stdin, or --tensor NAME=JSON for each input")
    bot_id = checked_ids([bot])[0]
    found = router_url(url, find_place(None, folder, os.environ), os.environ)
    with RouterClient(found, timeout_s=timeout, api_key=api_key(os.environ)) as router:
        described = router.metadata(bot_id)
        if not described.is_good:
            raise CommandError(_refusal(bot_id, described, router))
        inputs = read_inputs(described.document())
        predictions = _ask_tensors(router, bot_id, tensor, inputs) if tensor else []
        if texts:
            asked = list(_read_texts(texts))
            predictions = _ask_texts(router, bot_id, asked, inputs, batch)
    if as_json:
        print_document({"bot": bot_id, "url": found, "predictions": predictions})
    else:
        _print(predictions)
    if any(prediction.error is not None for prediction in predictions):
        raise typer.Exit(1)


def _ask_texts(
    router: RouterClient, bot_id: str, texts: Sequence[str], inputs: Sequence[TensorSpec], batch: int
) -> list[Prediction]:
    from botshard.cli.answer_view import predictions_of
    from botshard.cli.questions import text_tensor
    from botshard.oip.client import encode_request

    predictions: list[Prediction] = []
    with progress_bar("asking") as progress:
        for start in range(0, len(texts), batch):
            rows = texts[start : start + batch]
            answer = router.infer(bot_id, encode_request([text_tensor(rows, inputs)]))
            predictions += predictions_of(answer, rows)
            if progress is not None:
                progress(len(predictions), len(texts))
    return predictions


def _ask_tensors(
    router: RouterClient, bot_id: str, options: Sequence[str], inputs: Sequence[TensorSpec]
) -> list[Prediction]:
    from botshard.cli.answer_view import predictions_of
    from botshard.cli.questions import tensors_of
    from botshard.oip.client import encode_request

    return predictions_of(router.infer(bot_id, encode_request(tensors_of(options, inputs))), None)


def _read_texts(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        if text == _STDIN:
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield text


def _refusal(bot_id: str, answer: RouterAnswer, router: RouterClient) -> str:
    from botshard.bots.hints import near_names

    if answer.status != _NOT_FOUND:
        return answer.error
    listed = router.get("/v2/models")
    known = listed.document() if listed.is_good else None
    names = known.get("models") if isinstance(known, dict) else None
    near = near_names(bot_id, map(str, names)) if isinstance(names, list) and len(names) <= _MOST_COMPARED else []
    return answer.error + (f"; did you mean {' or '.join(near)}?" if near else "")


def _print(predictions: Sequence[Prediction]) -> None:
    from botshard.cli.answer_view import short_outputs
    from botshard.sharding.units import format_duration_s

    good = [prediction for prediction in predictions if prediction.error is None]
    if good:
        columns = (
            Column("TEXT"), Column("LABEL"), Column("SCORE", right=True), Column("VERSION", right=True),
            Column("POOL"), Column("TIME", right=True),
        )  # fmt: skip
        print_table(
            columns,
            (
                (
                    one.text,
                    one.label or short_outputs(one.outputs),
                    None if one.score is None else f"{one.score:.4f}",
                    one.version,
                    one.pool,
                    format_duration_s(one.took_s),
                )
                for one in good
            ),
        )
    for prediction in predictions:
        if prediction.error is not None:
            note(f"{'' if prediction.text is None else repr(prediction.text) + ': '}{prediction.error}")
