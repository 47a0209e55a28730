"""Following the catalog at size: only what its user needs is kept, and a change costs what it touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from botshard.sharding.catalog import Bot, FamilyKey
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId, Framework, GroupName
from botshard.store.base import Blob
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.catalog_follower import LISTING_INTERVAL_S, CatalogFollower, Keep, whole_entry
from botshard.store.files import FileStore
from botshard.store.layout import CATALOG_HEAD, catalog_key_of, catalog_name_of
from botshard.store.urls import open_store
from tests.catalogs import bytes_a_bot, make_bots, write_catalog
from tests.store.homes import make_bot

MANY = 5_000
KEY = FamilyKey(GroupName("realtime"), Framework("torch"))


class Counting(FileStore):
    """A folder that notes what is read from it and written to it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []
        self.written: list[str] = []

    def get_if_changed(self, key: str, etag: str | None, /) -> Blob | None:
        blob = super().get_if_changed(key, etag)
        if blob is not None:
            self.read.append(key)
        return blob

    def put_if(self, key: str, data: bytes, /, *, etag: str | None) -> str:
        self.written.append(key)
        return super().put_if(key, data, etag=etag)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Counting]:
    """An empty store."""
    store = Counting(tmp_path)
    yield store
    store.close()


def newest(bot: Bot, _hash_of_bot: int, /) -> int | None:
    """Keeps a number; nothing of a retired bot."""
    return None if bot.retired else bot.latest.number


def setting(bot: Bot) -> Edit:
    return lambda _: bot


def neighbours(number: int) -> list[BotId]:
    """Bots of one catalog object."""
    names = (BotId(f"bot-{index}") for index in count())
    return [next(name for name in names if catalog_object_index(bot_hash(name)) == 7) for _ in range(number)]


def test_it_keeps_what_it_is_told_to(folder: Counting) -> None:
    """Entries that give nothing are as absent ones, for `refresh_bot` too."""
    catalog, follower = CatalogStore(folder), CatalogFollower(folder, keep=newest)
    live, retired = make_bot("live", versions=3), replace(make_bot("retired"), retired=True)
    catalog.change_many({bot.id: setting(bot) for bot in (live, retired)})

    assert follower.refresh() == {live.id}
    assert follower.bots == {live.id: 3}
    assert follower.refresh_bot(live.id) == 3
    assert follower.refresh_bot(retired.id) is None
    assert follower.read_entry(retired.id) == retired
    assert follower.read_entry(BotId("stranger")) is None


def test_it_tells_the_bots_of_which_something_else_is_kept_and_no_other(folder: Counting) -> None:
    """Added, changed, retired, brought back, taken out; not their neighbours, nor what changed in what is not kept."""
    catalog, follower = CatalogStore(folder), CatalogFollower(folder, keep=newest)
    first, second, third, fourth = neighbours(4)
    catalog.change_many({bot_id: setting(make_bot(bot_id)) for bot_id in (first, second, third)})
    follower.refresh()

    def told(edits: Mapping[BotId, Bot | None]) -> frozenset[BotId]:
        def edit_to(bot: Bot | None) -> Edit:
            return lambda _: bot

        catalog.change_many({bot_id: edit_to(bot) for bot_id, bot in edits.items()})
        return follower.refresh()

    assert told({fourth: make_bot(fourth)}) == {fourth}
    assert told({first: make_bot(first, versions=2)}) == {first}
    assert told({first: replace(make_bot(first, versions=2), tenant=make_bot("x").tenant)}) == set()
    assert told({second: replace(make_bot(second), retired=True)}) == {second}
    assert told({second: make_bot(second)}) == {second}
    assert told({third: None}) == {third}
    assert told({first: None, third: make_bot(third, versions=2)}) == {first, third}
    assert follower.bots == {second: 1, third: 2, fourth: 1}


_entries = st.none() | st.builds(
    lambda versions, retired: (versions, retired), versions=st.integers(1, 2), retired=st.booleans()
)


@given(
    rounds=st.lists(st.dictionaries(st.integers(0, 7), _entries, max_size=4), max_size=6),
    keep=st.sampled_from((whole_entry, newest)),
    data=st.data(),
)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_it_ends_where_reading_everything_ends(
    rounds: list[dict[int, tuple[int, bool] | None]], keep: Keep[object], data: st.DataObject
) -> None:
    """After any changes to bots of one object, taken up in any steps, and what it told is the difference."""
    names = neighbours(8)
    with TemporaryDirectory() as root:
        store = open_store(Path(root).as_uri(), {})
        catalog = CatalogStore(store)
        follower = CatalogFollower(store, keep=keep)
        before: dict[BotId, object] = {}
        for edits in rounds:
            bots = {
                names[index]: entry and replace(make_bot(names[index], versions=entry[0]), retired=entry[1])
                for index, entry in edits.items()
            }
            catalog.change_many({bot_id: _to(bot) for bot_id, bot in bots.items()})
            if data.draw(st.booleans()):
                told = follower.refresh()
                kept = {bot_id: keep(bot, 0) for bot_id, bot in catalog.read_all().items()}
                after = {bot_id: entry for bot_id, entry in kept.items() if entry is not None}
                assert follower.bots == after
                assert told == {bot_id for bot_id in names if before.get(bot_id) != after.get(bot_id)}
                before = after
        store.close()


def _to(bot: Bot | None) -> Edit:
    return lambda _: bot


def test_one_more_of_many_bots_writes_one_object_and_the_head_and_followers_read_just_these(folder: Counting) -> None:
    """20,000 bots, one more: nobody touches the other 255 objects, nor the bots of this one that did not change."""
    write_catalog(folder, make_bots(20_000, KEY))
    seen: list[BotId] = []

    def keep(bot: Bot, _hash_of_bot: int, /) -> int:
        seen.append(bot.id)
        return bot.latest.number

    follower = CatalogFollower(folder, keep=keep)
    follower.refresh()
    new = make_bot("one-more")
    for noted in (folder.read, folder.written, seen):
        noted.clear()

    CatalogStore(folder).change(new.id, setting(new))

    assert folder.written == [catalog_key_of(new.id), CATALOG_HEAD]
    assert follower.refresh() == {new.id}
    assert folder.read == [CATALOG_HEAD, catalog_key_of(new.id)]
    assert seen == [new.id]
    assert len(follower.bots) == 20_001


def test_a_follower_costs_little_more_than_the_slots_of_its_ids(folder: Counting) -> None:
    """With entries that bots share: at most 90 bytes a bot over the ids, what 256 objects need included."""
    bots = make_bots(MANY, KEY)
    write_catalog(folder, bots)

    def follow() -> CatalogFollower[int]:
        follower = CatalogFollower(folder, keep=newest)
        follower.refresh()
        return follower

    held_bytes, follower = bytes_a_bot(bots, follow)

    assert len(follower.bots) == MANY
    assert held_bytes < 90


def test_what_is_kept_can_be_made_anew_of_objects_that_did_not_change(folder: Counting) -> None:
    """`read_again` tells whose entry differs, once for itself and once for the next `refresh`."""
    factor = 1
    follower = CatalogFollower(folder, keep=lambda bot, _: factor * bot.latest.number)
    first, second = neighbours(2)
    other = make_bot("one")
    CatalogStore(folder).change_many({bot_id: setting(make_bot(bot_id)) for bot_id in (first, second, other.id)})
    follower.refresh()
    factor = 10

    assert follower.read_again([catalog_name_of(first), "00"]) == {first, second}
    assert follower.bots == {first: 10, second: 10, other.id: 1}
    assert follower.read_again([catalog_name_of(first)]) == set()
    assert follower.refresh() == {first, second}


def test_an_object_that_cannot_be_read_again_leaves_what_was_kept(folder: Counting) -> None:
    """The problem is told, and the next whole object heals it."""
    clock_s = [0.0]
    follower = CatalogFollower(folder, keep=newest, clock_s=lambda: clock_s[0])
    bot = make_bot("one", versions=2)
    key = catalog_key_of(bot.id)
    CatalogStore(folder).change(bot.id, setting(bot))
    follower.refresh()
    whole = folder.get(key).data
    folder.put(key, whole[:-9])

    assert follower.read_again([catalog_name_of(bot.id)]) == set()
    assert follower.bots == {bot.id: 2}
    assert list(follower.problems) == [key]
    assert "\n" not in follower.problems[key]
    assert follower.unread == set()
    folder.put(key, whole)
    clock_s[0] += LISTING_INTERVAL_S
    follower.refresh()
    assert follower.problems == {}
