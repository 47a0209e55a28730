"""Options that many commands have, declared once, and the completion of bot ids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

__all__ = ["AsJson", "BotArgument", "BotArguments", "FolderOption", "StoreOption", "UrlOption", "complete_bots"]

_MOST_COMPLETIONS = 200


def complete_bots(ctx: Any, _arguments: list[str], incomplete: str) -> list[str]:
    """Ids of bots that start with what was typed; none where the store cannot be read."""
    from botshard.cli.context import find_place, open_place
    from botshard.sharding.errors import ShardingError
    from botshard.store.catalog import CatalogStore

    try:
        place = find_place(ctx.params.get("store"), ctx.params.get("folder"), os.environ)
        store = open_place(place, os.environ)
        try:
            bots = CatalogStore(store).read_all()
        finally:
            store.close()
    except (ShardingError, OSError):  # a shell that completes has no place for an error
        return []
    return sorted(str(bot_id) for bot_id in bots if bot_id.startswith(incomplete))[:_MOST_COMPLETIONS]


StoreOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Store: file:///… or s3://bucket/prefix?endpoint=…; else $BOTSHARD_STORE."
    ),
]
FolderOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Folder of a local stack; else $BOTSHARD_FOLDER, else ./.botshard."),
]
UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Router; else $BOTSHARD_URL, else that of the stack that runs."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
BotArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="BOT", help="Id of a bot.", autocompletion=complete_bots, show_default=False)
]
BotArguments: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="BOT…", help="Ids of bots.", autocompletion=complete_bots, show_default=False)
]
