"""What a router says of a bot beyond the store: how its pools fare now, and where the time of cold requests went."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from botshard.cli.context import URL_VARIABLE, Place, api_key, router_url
from botshard.cli.errors import CommandError, RouterUnavailableError
from botshard.cli.output import Column, note, plain, print_table
from botshard.cli.router_client import RouterClient

__all__ = ["ask_cold_requests", "ask_router", "print_cold_requests", "print_router"]

_TIMEOUT_S = 10.0


def ask_router(bot: str, url: str | None, place: Place, /) -> Mapping[str, Any] | None:
    """What the router tells of a bot, with its URL; None where there is none, or it does not answer, which is told."""
    if not (url or os.environ.get(URL_VARIABLE)) and place.own_stack is None:
        return None
    found = router_url(url, place, os.environ)
    try:
        with RouterClient(found, timeout_s=_TIMEOUT_S, api_key=api_key(os.environ)) as router:
            answer = router.get(f"/admin/explain/{quote(bot, safe='')}")
            document = answer.document() if answer.is_good else None
    except RouterUnavailableError as error:
        note(str(error))
        return None
    if not isinstance(document, dict):
        note(f"the router at {found} does not explain it: {answer.error}")
        return None
    return {"url": found, **document}


def print_router(document: Mapping[str, Any], /) -> None:
    """How the bot fares at a router now, a sentence a line."""
    print(f"\nAt the router {document['url']}, table {document.get('epoch', '-')}:")
    for sentence in document.get("now", ()):
        print(plain(str(sentence)))


def ask_cold_requests(bot: str, url: str | None, place: Place, /) -> Sequence[Mapping[str, Any]]:
    """The last requests to a bot that waited for a pool or a load, newest first.

    Raises: RouterUnavailableError, CommandError.
    """
    found = router_url(url, place, os.environ)
    with RouterClient(found, timeout_s=_TIMEOUT_S, api_key=api_key(os.environ)) as router:
        answer = router.get(f"/admin/ledger?bot={quote(bot, safe='')}")
        document = answer.document() if answer.is_good else None
    if not isinstance(document, dict):
        raise CommandError(f"the router at {found} has no ledger: {answer.error}")
    requests: list[Mapping[str, Any]] = document["requests"]
    return requests


def print_cold_requests(requests: Sequence[Mapping[str, Any]], /) -> None:
    """Milliseconds by stage, a request a line."""
    if not requests:
        note("no request to it has waited for a pool or a load, as far as this router remembers")
        return
    stages = list(requests[0]["stagesS"])
    columns = [Column("AT"), Column("WAITED FOR"), Column("MS", right=True)]
    columns += [Column(stage.upper(), right=True) for stage in stages]
    rows = (
        [one["at"], one["waitedFor"], *(f"{took_s * 1e3:.1f}" for took_s in (one["tookS"], *one["stagesS"].values()))]
        for one in requests
    )
    print_table(columns, rows)
