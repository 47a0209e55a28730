"""The catalog's documents in the store: the head, and the check that a catalog object holds its own bots only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from botshard.sharding.catalog import Bot
from botshard.sharding.codec import decode_catalog
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId
from botshard.sharding.reading import Reader, parse_json
from botshard.store.layout import CATALOG_HEAD, CATALOG_OBJECTS, catalog_key, catalog_key_of

__all__ = ["HEAD_FORMAT", "CatalogHead", "decode_hashed_object", "decode_head", "decode_object", "encode_head"]

HEAD_FORMAT = "botshard.catalog-head/v1"


@dataclass(frozen=True, slots=True)
class CatalogHead:
    """How far each catalog object has come. A hint: an object may be ahead of it, never the other way round.

    It holds revisions, not etags, so that of two publishers of one object the slower one cannot take the head back.
    """

    revision: int = 0
    """Grows with every write of the head."""
    objects: Mapping[str, int] = field(default_factory=dict)
    """Revision of each catalog object by its name, `00` … `ff`."""


def encode_head(head: CatalogHead, /) -> bytes:
    """The bytes of a head."""
    document = {"format": HEAD_FORMAT, "revision": head.revision, "objects": dict(sorted(head.objects.items()))}
    return json.dumps(document, separators=(",", ":")).encode()


def decode_head(data: bytes, /) -> CatalogHead:
    """The head in `data`.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, CATALOG_HEAD), CATALOG_HEAD)
    if reader.value.get("format") != HEAD_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(HEAD_FORMAT))
        reader.finish(CATALOG_HEAD)
    reader.only("format", "revision", "objects")
    revision = reader.integer("revision", at_least=1)
    objects = reader.inner("objects")
    objects.only(*CATALOG_OBJECTS)
    revisions = {name: objects.integer(name, at_least=1) for name in objects.value}
    reader.finish(CATALOG_HEAD)
    return CatalogHead(revision, revisions)


def decode_object(name: str, data: bytes, /) -> tuple[int, dict[BotId, Bot]]:
    """Revision and bots of the catalog object with this name.

    Raises: InvalidDocumentError, also where a bot stands in an object that its hash does not lead to.
    """
    revision, bots = decode_hashed_object(name, data)
    return revision, {bot.id: bot for bot, _ in bots}


def decode_hashed_object(name: str, data: bytes, /) -> tuple[int, list[tuple[Bot, int]]]:
    """As `decode_object`, each bot with its hash: that takes as long as reading the bot, and was computed anyway.

    Raises: InvalidDocumentError.
    """
    key = catalog_key(name)
    revision, bots = decode_catalog(data, key)
    hashed = [(bot, bot_hash(bot.id)) for bot in bots]
    index = int(name, 16)
    strays = [bot.id for bot, hash_of_bot in hashed if catalog_object_index(hash_of_bot) != index]
    if strays:
        problems = [Problem.of(f"bots.{bot_id}", bot_id, f"in {catalog_key_of(bot_id)}") for bot_id in strays]
        raise InvalidDocumentError(key, problems)
    return revision, hashed
