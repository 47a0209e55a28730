"""The catalog in the store: changing it, and following it.

Bots are spread over 256 objects by their hash. A change reads one object, edits it and writes it back on the condition
that nobody else has (compare-and-swap), so concurrent publishers lose nothing. Then the head is brought up to
date: one small object that everybody polls instead of 256. The head is a hint. A publisher that dies between the
two leaves it behind; followers notice by a full listing every `LISTING_INTERVAL_S`, and the next change of that object,
even one that changes nothing, repairs it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from botshard.sharding.catalog import Bot
from botshard.sharding.codec import encode_catalog
from botshard.sharding.errors import CallerError, InvalidDocumentError
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId
from botshard.store.base import (
    CorruptObjectError,
    ObjectNotFoundError,
    ObjectStore,
    PreconditionFailedError,
    StoreError,
)
from botshard.store.catalog_documents import CatalogHead, decode_head, decode_object, encode_head
from botshard.store.layout import CATALOG_HEAD, CATALOG_OBJECTS, CATALOG_PREFIX, catalog_key, catalog_name

__all__ = ["LISTING_INTERVAL_S", "CatalogFollower", "CatalogStore", "Edit"]

Edit: TypeAlias = Callable[[Bot | None], Bot | None]
"""From the entry as it is (None: there is none) to the entry as it shall be (None: none). May be called again."""

LISTING_INTERVAL_S = 15.0
"""How late a change can be seen whose publisher died before it told the head."""
REFRESH_BOT_INTERVAL_S = 0.25
"""How often one object is asked for at most on behalf of requests for a bot that is not known."""

_GIVE_UP_AFTER_S = 30.0
_BACKOFF_S = 0.004
_MAX_BACKOFF_S = 0.25


def _object_name(bot_id: BotId) -> str:
    return CATALOG_OBJECTS[catalog_object_index(bot_hash(bot_id))]


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
            groups.setdefault(_object_name(bot_id), {})[bot_id] = edit
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


@dataclass(slots=True)
class _Held:
    """What a follower knows of one catalog object."""

    etag: str | None = None
    """Of what was read last, accepted or not."""
    revision: int = 0
    """Of what was accepted last."""
    announced: int = 0
    """The head's revision of it that was acted upon last."""
    bots: dict[BotId, Bot] = field(default_factory=dict)


class CatalogFollower:
    """Keeps a copy of the catalog up to date. Its methods block and may be called from any thread."""

    def __init__(self, store: ObjectStore, /, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._head_etag: str | None = None
        self._list_at_s = float("-inf")
        self._asked_at_s: dict[str, float] = {}
        self._unanswered: dict[str, StoreError] = {}
        self._staged: dict[BotId, Bot | None] = {}
        self._untold: set[BotId] = set()
        self.bots: Mapping[BotId, Bot] = {}
        """Every bot by id, retired ones too. Replaced as a whole by a change: take it once where it must hold still."""
        self.revision = 0
        """Of the head that was followed last; 0: none yet."""
        self.problems: dict[str, str] = {}
        """Why an object was refused, by key; the last good one stays in force."""

    @property
    def unread(self) -> frozenset[str]:
        """Keys of the objects that were refused and of which there is no last good one: their bots are not known."""
        with self._lock:
            keys = {catalog_key(name): held.revision for name, held in self._held.items()}
            return frozenset(key for key in self.problems if keys.get(key) == 0)

    def refresh(self) -> frozenset[BotId]:
        """Take up what has changed; returns the bots that did, also through `refresh_bot`. One poll if nothing has.

        After an error nothing is lost: the next call goes on and tells all changes.

        Raises: StoreError.
        """
        with self._lock:
            try:
                self._follow_head()
                if self._clock_s() >= self._list_at_s:
                    self._follow_listing()
                    self._list_at_s = self._clock_s() + LISTING_INTERVAL_S
            finally:
                self._swap()
            told = frozenset(self._untold)
            self._untold.clear()
            return told

    def refresh_bot(self, bot_id: BotId, /) -> Bot | None:
        """One bot's entry after looking whether its object has changed, at most every `REFRESH_BOT_INTERVAL_S`.

        Raises: StoreError; CorruptObjectError where the object is damaged and there is no last good one to tell from.
        """
        name = _object_name(bot_id)
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._asked_at_s.get(name, float("-inf")) >= REFRESH_BOT_INTERVAL_S:
                self._asked_at_s[name] = now_s
                self._unanswered.pop(name, None)
                try:
                    self._load(name)
                except StoreError as error:
                    self._unanswered[name] = error
                    raise
                finally:
                    self._swap()
            elif name in self._unanswered:
                # That the store could not be asked a moment ago is no word about the bot.
                raise self._unanswered[name].with_traceback(None)
            problem = self.problems.get(catalog_key(name))
            if problem is not None and self._held[name].revision == 0:
                # The bot may well exist: who takes it for absent tells a lie.
                raise CorruptObjectError(catalog_key(name), expected="a catalog object", found=problem)
            return self.bots.get(bot_id)

    def _follow_head(self) -> None:
        try:
            blob = self._store.get_if_changed(CATALOG_HEAD, self._head_etag)
        except ObjectNotFoundError:
            if self.revision:
                self.problems[CATALOG_HEAD] = "it is gone; changes are found by listing until it is made anew"
            self._head_etag = None
            return
        if blob is None:
            return
        try:
            head = decode_head(blob.data)
        except InvalidDocumentError as error:
            self.problems[CATALOG_HEAD] = str(error)
            self._head_etag = blob.etag
            self._list_at_s = self._clock_s()
            return
        for name, revision in head.objects.items():
            held = self._held.setdefault(name, _Held())
            if revision not in (held.announced, held.revision):
                self._load(name)
            held.announced = revision
        # Only now: an error above makes the next refresh read this head again.
        self._head_etag = blob.etag
        self.revision = head.revision
        self.problems.pop(CATALOG_HEAD, None)

    def _follow_listing(self) -> None:
        listed = {}
        for entry in self._store.list(CATALOG_PREFIX):
            name = catalog_name(entry.key)
            if name is not None:
                listed[name] = entry.etag
        for name, etag in listed.items():
            held = self._held.get(name)
            if held is None or held.etag != etag:
                self._load(name)
        for name, held in self._held.items():
            if name not in listed:
                self._note_gone(name, held)

    def _load(self, name: str) -> None:
        """Read one object if it has changed, and stage the changes of its bots."""
        key = catalog_key(name)
        held = self._held.setdefault(name, _Held())
        try:
            blob = self._store.get_if_changed(key, held.etag)
        except ObjectNotFoundError:
            self._note_gone(name, held)
            return
        if blob is None:
            return
        held.etag = blob.etag
        try:
            revision, bots = decode_object(name, blob.data)
        except InvalidDocumentError as error:
            self.problems[key] = str(error)
            return
        self.problems.pop(key, None)
        for bot_id in held.bots.keys() | bots.keys():
            if held.bots.get(bot_id) != bots.get(bot_id):
                self._staged[bot_id] = bots.get(bot_id)
        held.revision, held.bots = revision, bots

    def _note_gone(self, name: str, held: _Held) -> None:
        # Nothing of ours deletes a catalog object, so its bots stay until it is written again.
        held.etag = None
        if held.revision:
            self.problems[catalog_key(name)] = "it is gone; its bots stay in force until it is written again"

    def _swap(self) -> None:
        if not self._staged:
            return
        bots = dict(self.bots)
        for bot_id, bot in self._staged.items():
            if bot is None:
                bots.pop(bot_id, None)
            else:
                bots[bot_id] = bot
        self.bots = bots
        self._untold.update(self._staged)
        self._staged.clear()
