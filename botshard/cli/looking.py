"""From an open store to the values that views are made from: the reading half of the commands that look."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from botshard.bots.rollouts import read_bot
from botshard.cli.context import Session
from botshard.cli.errors import WrongUsageError
from botshard.cli.show_view import BotDetail, ModelView, detail_of, model_view
from botshard.cli.world import World, read_catalog, read_world
from botshard.sharding.catalog import Bot
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.ids import BotId, check_bot_id
from botshard.store.artifacts import read_manifest
from botshard.store.base import CorruptObjectError, ObjectNotFoundError, ObjectStore
from botshard.store.files import FileStore
from botshard.store.layout import artifact_key

__all__ = ["checked_ids", "look_at", "look_at_all", "open_home"]


def checked_ids(names: list[str], /) -> list[BotId]:
    """The names as ids, each once, in their order. Raises: WrongUsageError for what can be no id."""
    problems = [str(problem) for name in names if (problem := check_bot_id(name, "BOT"))]
    if problems:
        raise WrongUsageError("\n".join(problems))
    return [BotId(name) for name in dict.fromkeys(names)]


def look_at_all(opened: Session, /) -> World:
    """The whole catalog and what is around it. Raises: StoreError."""
    bots, problems = read_catalog(opened.store)
    with open_home(opened) as home:
        return read_world(
            opened.store, bots, now_s=time.time(), home=home, is_down=opened.place.is_down, problems=problems
        )


def look_at(opened: Session, name: str, /) -> tuple[BotDetail, World]:
    """One bot and what is around it. Raises: UnknownBotError, StoreError, InvalidDocumentError."""
    bot = read_bot(opened.store, checked_ids([name])[0])
    problems: dict[str, str] = {}
    model = _read_model(opened.store, bot, problems)
    with open_home(opened) as home:
        world = read_world(
            opened.store,
            {bot.id: bot},
            now_s=time.time(),
            home=home,
            is_down=opened.place.is_down,
            only=bot,
            problems=problems,
        )
    return detail_of(bot, world, model=model), world


@contextmanager
def open_home(opened: Session) -> Iterator[ObjectStore | None]:
    """The documents of the stack that runs on this very store; None where none does."""
    if opened.place.own_stack is None or not opened.place.folder.home.is_dir():
        yield None
        return
    home = FileStore(opened.place.folder.home)
    try:
        yield home
    finally:
        home.close()


def _read_model(store: ObjectStore, bot: Bot, problems: dict[str, str]) -> ModelView | None:
    from botshard.bots.spec_document import spec_from_document

    key = artifact_key(bot.serving.artifact)
    try:
        return model_view(spec_from_document(read_manifest(store, bot.serving.artifact).spec, key))
    except (ObjectNotFoundError, CorruptObjectError, InvalidDocumentError) as error:
        problems[key] = str(error)
        return None
