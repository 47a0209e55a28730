"""Following the catalog: of each bot only what the follower's user needs is kept, of each change only what it touches.

A follower is told by a function what to keep of a bot. Routers, replicas and the controller hold all bots, each of them
another few bytes; nobody holds the entries as they were published. What is kept is a `BotMap`, so that a change of some
bots goes through the catalog objects that they are in and through no others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from botshard.sharding.bot_map import BotMap
from botshard.sharding.catalog import Bot
from botshard.sharding.catalog_lines import CatalogLines, read_changed_lines
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId
from botshard.store.base import CorruptObjectError, ObjectNotFoundError, ObjectStore, StoreError
from botshard.store.catalog_documents import decode_hashed_object, decode_head, decode_object
from botshard.store.layout import CATALOG_HEAD, CATALOG_PREFIX, catalog_key, catalog_name, catalog_name_of

__all__ = ["LISTING_INTERVAL_S", "REFRESH_BOT_INTERVAL_S", "CatalogFollower", "Keep", "whole_entry"]

T = TypeVar("T")

Keep: TypeAlias = Callable[[Bot, int], T | None]
"""From a bot's entry and the bot's hash to what is kept of it; None: nothing, as if there were no such bot.

Bots that are alike should get one and the same object. It is called under the follower's lock, from any thread."""

LISTING_INTERVAL_S = 15.0
"""How late a change can be seen whose publisher died before it told the head."""
REFRESH_BOT_INTERVAL_S = 0.25
"""How often one object is asked for at most on behalf of requests for a bot that is not known."""


def whole_entry(bot: Bot, _hash_of_bot: int, /) -> Bot:
    """Keeps entries as they were published: about a kilobyte a bot."""
    return bot


@dataclass(slots=True)
class _Held:
    """What a follower knows of one catalog object, besides its bots."""

    etag: str | None = None
    """Of what was read last, accepted or not."""
    revision: int = 0
    """Of what was accepted last."""
    announced: int = 0
    """The head's revision of it that was acted upon last."""
    count: int = 0
    """Bots of it of which something is kept."""
    lines: CatalogLines | None = None
    """Of what was accepted last; None: the next one is to be read whole."""


class CatalogFollower(Generic[T]):
    """Keeps something of every bot up to date. Its methods block and may be called from any thread."""

    def __init__(self, store: ObjectStore, /, *, keep: Keep[T], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._keep = keep
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._head_etag: str | None = None
        self._list_at_s = float("-inf")
        self._asked_at_s: dict[str, float] = {}
        self._unanswered: dict[str, StoreError] = {}
        self._staged: dict[BotId, T | None] = {}
        self._untold: set[BotId] = set()
        self.bots: BotMap[T] = BotMap()
        """What is kept of every bot, by id. It never changes; a change puts another one in its place."""
        self.revision = 0
        """Of the head that was followed last; 0: none yet."""
        self.problems: dict[str, str] = {}
        """Why an object was refused, by key; the last good one stays in force."""

    @property
    def unread(self) -> frozenset[str]:
        """Keys of the objects that were refused and of which there is no last good one: their bots are not known."""
        with self._lock:
            if not self.problems:
                return frozenset()
            keys = {catalog_key(name): held.revision for name, held in self._held.items()}
            return frozenset(key for key in self.problems if keys.get(key) == 0)

    def refresh(self) -> frozenset[BotId]:
        """Take up what has changed. One poll if nothing has.

        Returns exactly the bots of which something else is kept than before, or nothing any more, since the last call
        (also through `refresh_bot` and `read_again`); a bot whose entry changed in what is not kept is not among them.
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
            self._untold = set()
            return told

    def refresh_bot(self, bot_id: BotId, /) -> T | None:
        """What is kept of one bot after looking whether its object has changed, at most every `REFRESH_BOT_INTERVAL_S`.

        Raises: StoreError; CorruptObjectError where the object is damaged and there is no last good one to tell from.
        """
        name = catalog_name_of(bot_id)
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

    def read_again(self, names: Iterable[str], /) -> frozenset[BotId]:
        """Read catalog objects that may be unchanged, since `keep` would keep something else of their bots by now.

        Objects that were never read are left to `refresh`. Returns the bots of which something else is kept. Of an
        object that is refused now, what was kept stays (see `problems`); after an error the call is to be made again.

        Raises: StoreError.
        """
        with self._lock:
            told, self._untold = self._untold, set()
            try:
                for name in names:
                    held = self._held.get(name)
                    if held is not None and (held.etag is not None or held.revision):
                        held.etag = held.lines = None
                        self._load(name)
            finally:
                self._swap()
                changed = frozenset(self._untold)
                self._untold |= told
            return changed

    def read_entry(self, bot_id: BotId, /) -> Bot | None:
        """The whole entry of one bot as it is published now, for people; nothing is taken up by that.

        Raises: InvalidDocumentError, StoreError.
        """
        name = catalog_name_of(bot_id)
        try:
            data = self._store.get(catalog_key(name)).data
        except ObjectNotFoundError:
            return None
        return decode_object(name, data)[1].get(bot_id)

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
        if self._take_lines(name, held, blob.data):
            self.problems.pop(key, None)
            return
        try:
            revision, entries = decode_hashed_object(name, blob.data)
        except InvalidDocumentError as error:
            self.problems[key] = str(error)
            return
        self.problems.pop(key, None)
        self._take_whole(name, held, entries)
        held.revision, held.lines = revision, CatalogLines.of(blob.data, bots=len(entries))

    def _take_lines(self, name: str, held: _Held, data: bytes) -> bool:
        """Stage what the lines say that were not in the object before; False where it is to be read whole."""
        changes = None if held.lines is None else read_changed_lines(held.lines, data)
        if changes is None:
            return False
        index = int(name, 16)
        hashed = [(bot, bot_hash(bot.id)) for bot in changes.bots]
        before = [self._now(bot.id) for bot in changes.bots]
        # Each line that is gone must be that of a bot which has a new one: else a bot has left, or stands there twice.
        replaced = sum(entry is not None for entry in before)
        if replaced != changes.gone or not all(catalog_object_index(of_bot) == index for _, of_bot in hashed):
            return False
        for (bot, hash_of_bot), entry in zip(hashed, before, strict=True):
            held.count += self._stage(bot.id, entry, self._keep(bot, hash_of_bot))
        held.revision, held.lines = changes.revision, changes.lines
        return True

    def _take_whole(self, name: str, held: _Held, entries: Sequence[tuple[Bot, int]]) -> None:
        """Stage what is kept of an object's bots, as far as it is something else than before."""
        index, expected, count = int(name, 16), held.count, 0
        for bot, hash_of_bot in entries:
            after = self._keep(bot, hash_of_bot)
            count += after is not None
            expected += self._stage(bot.id, self._now(bot.id), after)
        if expected != count:
            # Bots have left the object. Hardly any ever does: to look for them is cheaper than to note all ids.
            present = {bot.id for bot, _ in entries}
            for bot_id in {*self.bots, *self._staged} - present:
                if catalog_object_index(bot_hash(bot_id)) == index and self._now(bot_id) is not None:
                    self._staged[bot_id] = None
        held.count = count

    def _stage(self, bot_id: BotId, before: T | None, after: T | None) -> int:
        """Note a difference; by how many bots there are more now: -1, 0 or 1."""
        if before != after:
            self._staged[bot_id] = after
        return (after is not None) - (before is not None)

    def _now(self, bot_id: BotId) -> T | None:
        return self._staged[bot_id] if bot_id in self._staged else self.bots.find(bot_id)

    def _note_gone(self, name: str, held: _Held) -> None:
        # Nothing of ours deletes a catalog object, so its bots stay until it is written again.
        held.etag = None
        if held.revision:
            self.problems[catalog_key(name)] = "it is gone; its bots stay in force until it is written again"

    def _swap(self) -> None:
        if self._staged:
            self.bots = self.bots.with_changes(self._staged)
            self._untold.update(self._staged)
            self._staged = {}
