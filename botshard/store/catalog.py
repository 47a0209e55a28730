"""The catalog in the store: changing it. `catalog_follower` follows it.

Bots are spread over 256 objects by their hash. A change reads one object, edits it and writes it back on the condition
that nobody else has (compare-and-swap), so concurrent publishers lose nothing. Then the head is brought up to
date: one small object that everybody polls instead of 256. The head is a hint. A publisher that dies between the
two leaves it behind; followers notice by a full listing every so often, and the next change of that object, even one
that changes nothing, repairs it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from botshard.sharding.catalog import Bot
from botshard.sharding.codec import encode_catalog
from botshard.sharding.errors import CallerError, InvalidDocumentError
from botshard.sharding.ids import BotId
from botshard.store.base import ObjectNotFoundError, ObjectStore, PreconditionFailedError
from botshard.store.catalog_documents import CatalogHead, decode_head, decode_object, encode_head
from botshard.store.layout import CATALOG_HEAD, CATALOG_PREFIX, catalog_key, catalog_name, catalog_name_of

__all__ = ["CatalogStore", "Edit"]

Edit: TypeAlias = Callable[[Bot | None], Bot | None]
"""From the entry as it is (None: there is none) to the entry as it shall be (None: none). May be called again."""

_GIVE_UP_AFTER_S = 30.0
_BACKOFF_S = 0.004
_MAX_BACKOFF_S = 0.25


class CatalogStore:
    """Changes the catalog."""

    def __init__(self, store: ObjectStore, /) -> None:
        self._store = store

    def change(self, bot_id: BotId, edit: Edit, /) -> Bot | None:
        """Apply `edit` to one bot's entry; see `change_many`."""
        return self.change_many({bot_id: edit})[bot_id]

    def change_many(self, edits: Mapping[BotId, Edit], /) -> dict[BotId, Bot | None]:
        """Apply an edit to each bot's entry; returns the entries as they are then.

        Each catalog object changes whole or not at all; an error in one leaves the objects before it changed.

        Raises: what an edit raises; InvalidDocumentError for an object that cannot be read; PreconditionFailedError
            where others kept changing an object for half a minute; StoreError.
        """
        groups: dict[str, dict[BotId, Edit]] = {}
        for bot_id, edit in edits.items():
            groups.setdefault(catalog_name_of(bot_id), {})[bot_id] = edit
        floor = self._read_head()[0].objects
        reached: dict[str, int] = {}
        entries: dict[BotId, Bot | None] = {}
        try:
            for name in sorted(groups):
                revision, changed = self._change_object(name, groups[name], floor.get(name, 0))
                reached[name] = revision
                entries.update(changed)
        finally:
            self._raise_head(reached)
        return entries

    def read_all(self) -> dict[BotId, Bot]:
        """Every bot in the catalog, retired ones too.

        Raises: InvalidDocumentError, StoreError.
        """
        bots: dict[BotId, Bot] = {}
        for entry in self._store.list(CATALOG_PREFIX):
            name = catalog_name(entry.key)
            if name is not None:
                bots.update(decode_object(name, self._store.get(entry.key).data)[1])
        return bots

    def _change_object(self, name: str, edits: Mapping[BotId, Edit], floor: int) -> tuple[int, dict[BotId, Bot | None]]:
        """Revision of the object and the edited entries in it, after all edits are in."""
        key = catalog_key(name)
        for _ in _rounds(key):
            revision, bots, etag = self._read_object(name)
            entries = {bot_id: edit(bots.get(bot_id)) for bot_id, edit in edits.items()}
            after = {**bots}
            for bot_id, bot in entries.items():
                if bot is None:
                    after.pop(bot_id, None)
                elif bot.id == bot_id:
                    after[bot_id] = bot
                else:
                    raise CallerError(f"an edit of bot {bot_id!r} returned bot {bot.id!r}")
            if after == bots:
                return revision, entries
            # Beyond the head's too: an object that was restored from an old copy must not repeat a revision.
            revision = max(revision, floor) + 1
            try:
                self._store.put_if(key, encode_catalog(revision, after.values()), etag=etag)
            except PreconditionFailedError:
                continue
            return revision, entries
        raise AssertionError("the rounds end by an error")

    def _read_object(self, name: str) -> tuple[int, dict[BotId, Bot], str | None]:
        try:
            blob = self._store.get(catalog_key(name))
        except ObjectNotFoundError:
            return 0, {}, None
        return *decode_object(name, blob.data), blob.etag

    def _read_head(self) -> tuple[CatalogHead, str | None]:
        """Head and etag; an empty one where it is absent or damaged, since objects do not depend on it."""
        try:
            blob = self._store.get(CATALOG_HEAD)
        except ObjectNotFoundError:
            return CatalogHead(), None
        try:
            return decode_head(blob.data), blob.etag
        except InvalidDocumentError:
            return CatalogHead(), blob.etag

    def _raise_head(self, reached: Mapping[str, int]) -> None:
        """Make the head say at least these revisions."""
        wanted = {name: revision for name, revision in reached.items() if revision > 0}
        for _ in _rounds(CATALOG_HEAD):
            head, etag = self._read_head()
            behind = {name: revision for name, revision in wanted.items() if revision > head.objects.get(name, 0)}
            if not behind:
                return
            try:
                new_head = CatalogHead(head.revision + 1, {**head.objects, **behind})
                self._store.put_if(CATALOG_HEAD, encode_head(new_head), etag=etag)
            except PreconditionFailedError:
                continue
            return


def _rounds(key: str) -> Iterator[int]:
    """Rounds of a compare-and-swap with growing, jittered pauses between them.

    Raises: PreconditionFailedError after `_GIVE_UP_AFTER_S`.
    """
    deadline_s = time.monotonic() + _GIVE_UP_AFTER_S
    attempt = 0
    while time.monotonic() < deadline_s:
        yield attempt
        attempt += 1
        time.sleep(random.uniform(0.0, min(_MAX_BACKOFF_S, _BACKOFF_S * 2**attempt)))  # noqa: S311 - spreads writers
    raise PreconditionFailedError(f"{key!r} was changed by others {attempt} times in {_GIVE_UP_AFTER_S:g} s; try again")
