"""The catalog: changed by many at once, followed by everybody, damaged by nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from botshard.sharding.catalog import Bot
from botshard.sharding.codec import encode_catalog
from botshard.sharding.errors import CallerError, InvalidDocumentError
from botshard.sharding.hashing import bot_hash
from botshard.sharding.ids import BotId
from botshard.store.base import CorruptObjectError, ObjectStore, StoreUnavailableError
from botshard.store.catalog import CatalogStore, Edit
from botshard.store.catalog_documents import CatalogHead, decode_head, encode_head
from botshard.store.catalog_follower import LISTING_INTERVAL_S, REFRESH_BOT_INTERVAL_S, CatalogFollower, whole_entry
from botshard.store.layout import CATALOG_HEAD, catalog_key, catalog_key_of, catalog_name
from tests.store.homes import Home, make_bot, start_process

ONE, TWO = BotId("one"), BotId("two")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def setting(bot: Bot) -> Edit:
    return lambda _: bot


def retiring(bot: Bot | None) -> Bot | None:
    return None if bot is None else replace(bot, retired=True)


def name_of(bot_id: BotId) -> str:
    name = catalog_name(catalog_key_of(bot_id))
    assert name is not None
    return name


def write_unannounced(store: ObjectStore, bot: Bot, *, revision: int) -> None:
    """What a publisher leaves that dies before it tells the head."""
    store.put(catalog_key_of(bot.id), encode_catalog(revision, [bot]))


def test_a_bot_stands_in_the_object_of_its_hash(store: ObjectStore) -> None:
    """The first byte of the hash names the object."""
    CatalogStore(store).change(ONE, setting(make_bot(ONE)))

    keys = [entry.key for entry in store.list("catalog/")]

    assert keys == sorted([f"catalog/{bot_hash(ONE) >> 56:02x}.json", CATALOG_HEAD])


def test_changes_are_read_back_and_absent_bots_are_none(store: ObjectStore) -> None:
    """An edit sees the entry as it is; None takes a bot out."""
    catalog = CatalogStore(store)
    seen: list[Bot | None] = []

    def look(bot: Bot | None) -> Bot | None:
        seen.append(bot)
        return bot

    assert catalog.read_all() == {}
    assert catalog.change(ONE, look) is None
    assert catalog.change(ONE, setting(make_bot(ONE))) == make_bot(ONE)
    assert catalog.change(ONE, look) == make_bot(ONE)
    assert catalog.change(TWO, setting(make_bot(TWO))) == make_bot(TWO)
    assert catalog.read_all() == {ONE: make_bot(ONE), TWO: make_bot(TWO)}
    assert catalog.change(ONE, lambda _: None) is None

    assert catalog.read_all() == {TWO: make_bot(TWO)}
    assert seen == [None, make_bot(ONE)]


def test_an_edit_that_changes_nothing_writes_nothing(store: ObjectStore) -> None:
    """Publishing the same again leaves every object as it is."""
    catalog = CatalogStore(store)
    catalog.change(ONE, setting(make_bot(ONE)))
    before = list(store.list(""))

    catalog.change(ONE, setting(make_bot(ONE)))
    catalog.change(TWO, lambda bot: bot)

    assert list(store.list("")) == before


def test_an_edit_that_fails_leaves_what_was_changed_before_it_announced(store: ObjectStore) -> None:
    """The error comes through; objects that were written are in the head."""
    catalog = CatalogStore(store)
    first, second = sorted([ONE, TWO], key=name_of)

    def fail(_: Bot | None) -> Bot | None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        catalog.change_many({first: setting(make_bot(first)), second: fail})

    assert decode_head(store.get(CATALOG_HEAD).data).objects == {name_of(first): 1}
    with pytest.raises(CallerError, match="returned bot 'two'"):
        catalog.change(ONE, setting(make_bot(TWO)))


def test_sixteen_publishers_lose_no_bot(home: Home, store: ObjectStore) -> None:
    """Twelve threads and four processes that publish at once: every bot is there and is announced."""
    follower = CatalogFollower(home.open(), keep=whole_entry)
    follower.refresh()
    processes = [start_process(home, "publish", f"process{index}", "6") for index in range(4)]

    def publish(index: int) -> None:
        catalog = CatalogStore(store)
        for number in range(6):
            bot = make_bot(f"thread{index}-{number}")
            catalog.change(bot.id, setting(bot))

    threads = [threading.Thread(target=publish, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(process.communicate(timeout=60)[0], process.returncode) for process in processes] == [("", 0)] * 4

    expected = {
        f"{kind}{index}-{number}"
        for kind, count in (("thread", 12), ("process", 4))
        for index in range(count)
        for number in range(6)
    }
    assert CatalogStore(store).read_all().keys() == expected
    assert follower.refresh() == expected, "by the head alone: no listing is due"


def test_a_follower_tells_each_change_once(store: ObjectStore) -> None:
    """`refresh` returns the ids of bots that came, changed or went since the last one."""
    catalog, follower = CatalogStore(store), CatalogFollower(store, keep=whole_entry, clock_s=Clock())
    catalog.change_many({ONE: setting(make_bot(ONE)), TWO: setting(make_bot(TWO))})

    assert follower.refresh() == {ONE, TWO}
    held = follower.bots
    assert follower.refresh() == frozenset()
    assert follower.bots is held
    catalog.change(ONE, retiring)
    assert follower.refresh() == {ONE}
    catalog.change(TWO, lambda _: None)
    assert follower.refresh() == {TWO}

    assert follower.bots == {ONE: replace(make_bot(ONE), retired=True)}
    assert held == {ONE: make_bot(ONE), TWO: make_bot(TWO)}, "what somebody holds stays still"
    assert follower.revision == 3
    assert follower.problems == {}


def test_a_change_back_and_forth_is_followed(store: ObjectStore) -> None:
    """X → y → x has revisions 1, 2, 3: no etag returns, in MinIO neither, and no follower or writer is fooled."""
    catalog, clock = CatalogStore(store), Clock()
    follower, slow = (
        CatalogFollower(store, keep=whole_entry, clock_s=clock),
        CatalogFollower(store, keep=whole_entry, clock_s=clock),
    )
    etags = []
    for versions in (1, 2, 1, 2):
        catalog.change(ONE, setting(make_bot(ONE, versions=versions)))
        etags.append(store.stat(catalog_key_of(ONE)).etag)
        assert follower.refresh() == {ONE}
        assert len(follower.bots[ONE].versions) == versions
        if versions == 1:
            slow.refresh()

    assert len(set(etags)) == 4
    assert slow.refresh() == {ONE}
    assert len(slow.bots[ONE].versions) == 2


def test_a_publisher_that_dies_before_the_head_is_healed_by_the_listing(store: ObjectStore) -> None:
    """The change is seen when the next listing is due, without anybody publishing again."""
    clock = Clock()
    follower = CatalogFollower(store, keep=whole_entry, clock_s=clock)
    CatalogStore(store).change(TWO, setting(make_bot(TWO)))
    follower.refresh()
    write_unannounced(store, make_bot(ONE), revision=1)

    clock.now_s += LISTING_INTERVAL_S - 1
    assert follower.refresh() == frozenset()
    clock.now_s += 2
    assert follower.refresh() == {ONE}


@pytest.mark.parametrize(
    "edit", [pytest.param(setting(make_bot(ONE)), id="same again"), pytest.param(retiring, id="another change")]
)
def test_a_publisher_that_dies_before_the_head_is_healed_by_the_next_publish(store: ObjectStore, edit: Edit) -> None:
    """Publishing the same again is enough for the head to be right."""
    follower = CatalogFollower(store, keep=whole_entry, clock_s=Clock())
    follower.refresh()
    write_unannounced(store, make_bot(ONE), revision=1)

    CatalogStore(store).change(ONE, edit)

    assert follower.refresh() == {ONE}
    assert decode_head(store.get(CATALOG_HEAD).data).objects[name_of(ONE)] >= 1


def test_a_slow_publisher_does_not_take_the_head_back(store: ObjectStore) -> None:
    """The head keeps the larger revision of an object, whoever comes last."""
    catalog = CatalogStore(store)
    for versions in (1, 2, 3):
        catalog.change(ONE, setting(make_bot(ONE, versions=versions)))

    catalog._raise_head({name_of(ONE): 2})

    assert decode_head(store.get(CATALOG_HEAD).data).objects == {name_of(ONE): 3}


def test_an_object_restored_from_an_old_copy_goes_beyond_the_head(store: ObjectStore) -> None:
    """The next change of it gets a revision that nobody has seen, so that followers take it up."""
    catalog, follower = CatalogStore(store), CatalogFollower(store, keep=whole_entry, clock_s=Clock())
    catalog.change(ONE, setting(make_bot(ONE)))
    old_copy = store.get(catalog_key_of(ONE)).data
    catalog.change(ONE, setting(make_bot(ONE, versions=2)))
    follower.refresh()
    store.put(catalog_key_of(ONE), old_copy)

    catalog.change(ONE, setting(make_bot(ONE, versions=3)))

    assert follower.refresh() == {ONE}
    assert len(follower.bots[ONE].versions) == 3


def test_a_bot_that_is_asked_for_is_looked_up_at_once_but_not_too_often(store: ObjectStore) -> None:
    """`refresh_bot` sees an unannounced change, asks once an interval, and its find is told by `refresh`."""
    clock = Clock()
    follower = CatalogFollower(store, keep=whole_entry, clock_s=clock)
    follower.refresh()
    assert follower.refresh_bot(ONE) is None
    write_unannounced(store, make_bot(ONE), revision=1)

    assert follower.refresh_bot(ONE) is None
    clock.now_s += REFRESH_BOT_INTERVAL_S
    assert follower.refresh_bot(ONE) == make_bot(ONE)

    assert follower.refresh() == {ONE}


def _stray(store: ObjectStore) -> bytes:
    CatalogStore(store).change(TWO, setting(make_bot(TWO)))
    return encode_catalog(9, [make_bot(ONE), make_bot(TWO)])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(lambda _: b"", "must be one JSON object", id="empty"),
        pytest.param(
            lambda store: store.get(catalog_key_of(ONE)).data[:-20], "must be one JSON object", id="truncated"
        ),
        pytest.param(lambda _: b'{"format":"other/v9"}', "format: must be", id="another format"),
        pytest.param(_stray, "bots.two: must be in catalog/", id="a bot of another object"),
    ],
)
def test_a_damaged_object_is_refused_and_the_last_good_one_stays(
    store: ObjectStore, damage: Callable[[ObjectStore], bytes], expected: str
) -> None:
    """The problem names key and field; other objects go on; a repair is taken up."""
    catalog, clock = CatalogStore(store), Clock()
    follower = CatalogFollower(store, keep=whole_entry, clock_s=clock)
    catalog.change(ONE, setting(make_bot(ONE)))
    follower.refresh()
    good = store.get(catalog_key_of(ONE)).data
    store.put(catalog_key_of(ONE), damage(store))
    clock.now_s += LISTING_INTERVAL_S

    follower.refresh()

    assert follower.bots[ONE] == make_bot(ONE)
    assert list(follower.problems) == [catalog_key_of(ONE)]
    assert expected in follower.problems[catalog_key_of(ONE)]
    with pytest.raises(InvalidDocumentError):
        catalog.change(ONE, retiring)
    with pytest.raises(InvalidDocumentError):
        catalog.read_all()
    catalog.change(TWO, setting(make_bot(TWO, versions=2)))
    follower.refresh()
    assert len(follower.bots[TWO].versions) == 2
    store.put(catalog_key_of(ONE), good)
    clock.now_s += LISTING_INTERVAL_S
    follower.refresh()
    assert follower.problems == {}


def test_a_bot_of_an_object_that_was_never_read_is_not_taken_for_absent(store: ObjectStore) -> None:
    """A follower that begins while an object is damaged cannot tell which bots are in it, and says so."""
    catalog, clock = CatalogStore(store), Clock()
    catalog.change(ONE, setting(make_bot(ONE)))
    good = store.get(catalog_key_of(ONE)).data
    store.put(catalog_key_of(ONE), good[:-20])
    follower = CatalogFollower(store, keep=whole_entry, clock_s=clock)
    follower.refresh()
    for _ in range(2):
        with pytest.raises(CorruptObjectError, match=catalog_key_of(ONE)):
            follower.refresh_bot(ONE)
    assert follower.refresh_bot(TWO) is None
    store.put(catalog_key_of(ONE), good)
    clock.now_s += REFRESH_BOT_INTERVAL_S

    assert follower.refresh_bot(ONE) == make_bot(ONE)


@pytest.mark.parametrize("data", [b"{", b'{"format":"botshard.catalog-head/v1","revision":0,"objects":{"zz":1}}'])
def test_a_damaged_head_stops_nobody(store: ObjectStore, data: bytes) -> None:
    """Followers list instead, and the next publisher writes a new head."""
    catalog, follower = CatalogStore(store), CatalogFollower(store, keep=whole_entry, clock_s=Clock())
    catalog.change(ONE, setting(make_bot(ONE)))
    follower.refresh()
    write_unannounced(store, make_bot(ONE, versions=2), revision=2)
    store.put(CATALOG_HEAD, data)

    assert follower.refresh() == {ONE}
    assert list(follower.problems) == [CATALOG_HEAD]
    catalog.change(TWO, setting(make_bot(TWO)))

    assert follower.refresh() == {TWO}
    assert follower.problems == {}


def test_objects_that_vanish_stay_in_force_and_are_told(store: ObjectStore) -> None:
    """Somebody emptied the bucket: nothing is unpublished by that, and all is well when it is back."""
    clock = Clock()
    follower = CatalogFollower(store, keep=whole_entry, clock_s=clock)
    CatalogStore(store).change(ONE, setting(make_bot(ONE)))
    follower.refresh()
    kept = {entry.key: store.get(entry.key).data for entry in store.list("")}
    for key in kept:
        store.delete(key)
    clock.now_s += LISTING_INTERVAL_S

    assert follower.refresh() == frozenset()
    assert follower.refresh_bot(ONE) == make_bot(ONE)
    assert follower.problems.keys() == kept.keys()
    for key, data in kept.items():
        store.put(key, data)
    clock.now_s += LISTING_INTERVAL_S

    assert follower.refresh() == frozenset()
    assert follower.problems == {}


def test_no_change_is_lost_by_an_outage_in_between(own_home: Home) -> None:
    """A follower that fails half way tells everything once the store is back."""
    store = own_home.open()
    follower = CatalogFollower(store, keep=whole_entry, clock_s=Clock())
    CatalogStore(store).change(ONE, setting(make_bot(ONE)))
    own_home.take_away()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            follower.refresh()
    with pytest.raises(StoreUnavailableError):
        follower.refresh_bot(ONE)
    own_home.bring_back()

    assert follower.refresh() == {ONE}
    store.close()


def test_a_bot_that_could_not_be_looked_up_is_not_taken_for_absent(own_home: Home) -> None:
    """Also who asks again within the interval is told of the outage, not that there is no such bot."""
    clock = Clock()
    store = own_home.open()
    follower = CatalogFollower(store, keep=whole_entry, clock_s=clock)
    CatalogStore(store).change(ONE, setting(make_bot(ONE)))
    own_home.take_away()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            follower.refresh_bot(ONE)
    own_home.bring_back()
    clock.now_s += REFRESH_BOT_INTERVAL_S

    assert follower.refresh_bot(ONE) == make_bot(ONE)
    store.close()


def test_the_head_is_validated_whole() -> None:
    """Every wrong field of a head is named."""
    head = CatalogHead(7, {"00": 3, "ff": 1})
    assert decode_head(encode_head(head)) == head

    with pytest.raises(InvalidDocumentError) as caught:
        decode_head(b'{"format":"botshard.catalog-head/v1","revision":"x","objects":{"00":-1,"0":1},"more":1}')

    assert {problem.field for problem in caught.value.problems} == {"more", "revision", "objects.0", "objects.00"}
    assert catalog_key("00") == "catalog/00.json"
