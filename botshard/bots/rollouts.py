"""What is served of a bot that was published: looking it up, pinning a version, rolling back, retiring.

Each change is one compare-and-swap of the catalog; versions and artifacts stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from botshard.bots.errors import UnknownBotError, UnknownVersionError
from botshard.sharding.catalog import Bot, Rollout
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId, VersionNumber
from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.catalog import CatalogStore
from botshard.store.catalog_documents import decode_object
from botshard.store.layout import CATALOG_OBJECTS, catalog_key

__all__ = ["read_bot", "read_bots", "retire", "rollback", "set_rollout"]


def read_bot(store: ObjectStore, bot_id: str, /) -> Bot:
    """The catalog's entry for a bot, retired or not.

    Raises: UnknownBotError with near names; InvalidDocumentError for a damaged catalog object; StoreError.
    """
    bot = read_bots(store, [BotId(bot_id)]).get(BotId(bot_id))
    if bot is None:
        raise UnknownBotError(bot_id, CatalogStore(store).read_all())
    return bot


def read_bots(store: ObjectStore, bot_ids: Iterable[BotId], /) -> dict[BotId, Bot]:
    """The entries of those of these bots that there are; reads the catalog objects that they belong to, once each.

    Raises: InvalidDocumentError for a damaged catalog object; StoreError.
    """
    wanted = set(bot_ids)
    found: dict[BotId, Bot] = {}
    for name in sorted({CATALOG_OBJECTS[catalog_object_index(bot_hash(bot_id))] for bot_id in wanted}):
        try:
            blob = store.get(catalog_key(name))
        except ObjectNotFoundError:
            continue
        found.update({bot_id: bot for bot_id, bot in decode_object(name, blob.data)[1].items() if bot_id in wanted})
    return found


def set_rollout(store: ObjectStore, bot_id: str, /, version: int | None) -> Bot:
    """Serve a fixed version from now on, or (None) always the newest; returns the entry as it is then.

    Raises: UnknownBotError, also for a retired bot; UnknownVersionError; StoreError.
    """

    def edit(bot: Bot | None) -> Bot:
        served = _served(store, bot_id, bot)
        if version is not None and version not in {one.number for one in served.versions}:
            raise UnknownVersionError(served, version)
        return replace(served, rollout=Rollout(None if version is None else VersionNumber(version)))

    return _there(CatalogStore(store).change(BotId(bot_id), edit))


def rollback(store: ObjectStore, bot_id: str, /, *, to: int | None = None) -> Bot:
    """Serve an earlier version and stay there: `to`, or the version before the serving one.

    The version is chosen before the catalog is changed, so that a change that has to be repeated goes back once.

    Raises: UnknownBotError, also for a retired bot; UnknownVersionError; StoreError.
    """
    if to is None:
        bot = _served(store, bot_id, read_bot(store, bot_id))
        earlier = [one.number for one in bot.versions if one.number < bot.serving.number]
        if not earlier:
            raise UnknownVersionError(bot, None)
        to = earlier[-1]
    return set_rollout(store, bot_id, version=to)


def retire(store: ObjectStore, bot_id: str, /) -> Bot:
    """Answer the bot as unknown from now on; its versions keep their numbers. Retiring twice changes nothing.

    Raises: UnknownBotError; StoreError.
    """

    def edit(bot: Bot | None) -> Bot:
        if bot is None:
            raise UnknownBotError(bot_id, CatalogStore(store).read_all())
        return replace(bot, retired=True)

    return _there(CatalogStore(store).change(BotId(bot_id), edit))


def _served(store: ObjectStore, bot_id: str, bot: Bot | None) -> Bot:
    if bot is None:
        raise UnknownBotError(bot_id, CatalogStore(store).read_all())
    if bot.retired:
        raise UnknownBotError(bot_id, (), retired=True)
    return bot


def _there(bot: Bot | None) -> Bot:
    assert bot is not None, "these edits never remove a bot"  # noqa: S101 - for the type checker
    return bot
