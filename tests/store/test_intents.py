"""What an operator asks for, in the store: read whole or refused whole, changed by whoever comes, lost by nobody."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.ids import FamilyId, PoolName
from botshard.store.files import FileStore
from botshard.store.intents import (
    IntentFollower,
    Intents,
    change_intents,
    decode_intents,
    encode_intents,
    read_intents,
)
from botshard.store.layout import CONTROLLER_INTENTS

ASKED = Intents((PoolName("a-pool"), PoolName("b-pool")), {FamilyId("torch-00000000"): 3}, (PoolName("c-pool"),))
REFUSED = {
    "another format": (b'{"format":"x"}', "format"),
    "an unknown field": (b'{"format":"botshard.intents/v1","drain":[],"morePools":{},"x":1}', "x"),
    "no pool's name": (b'{"format":"botshard.intents/v1","drain":["A B"],"morePools":{}}', "drain[0]"),
    "a pool twice": (b'{"format":"botshard.intents/v1","drain":["a","a"],"morePools":{}}', "drain[1]"),
    "no quarantined pool's name": (
        b'{"format":"botshard.intents/v1","drain":[],"quarantine":[1],"morePools":{}}',
        "quarantine[0]",
    ),
    "no list of pools": (b'{"format":"botshard.intents/v1","drain":[],"quarantine":"a","morePools":{}}', "quarantine"),
    "no number": (b'{"format":"botshard.intents/v1","drain":[],"morePools":{"torch-1":0}}', "morePools.torch-1"),
    "no family": (b'{"format":"botshard.intents/v1","drain":[],"morePools":{"' + b"x" * 30 + b'":1}}', "morePools.x"),
    "half of it": (b'{"format":"botshard.int', "one JSON object"),
}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "store")


def test_what_is_written_is_read(store: FileStore) -> None:
    """Nothing asked for is no object; order does not matter."""
    assert read_intents(store) == Intents()
    assert change_intents(store, lambda _: ASKED) == read_intents(store) == ASKED
    assert encode_intents(replace(ASKED, drain=ASKED.drain[::-1])) == encode_intents(ASKED)


def test_a_document_without_quarantine_asks_for_none() -> None:
    """As they were written before there was any."""
    assert decode_intents(b'{"format":"botshard.intents/v1","drain":["a"],"morePools":{}}') == Intents((PoolName("a"),))


def test_pools_that_are_gone_are_asked_for_no_more() -> None:
    """Neither to be drained nor to be quarantined; together they are those that are to be left."""
    assert ASKED.leaving == {"a-pool", "b-pool", "c-pool"}
    assert ASKED.without({PoolName("a-pool"), PoolName("c-pool")}).leaving == {"b-pool"}


@pytest.mark.parametrize(("data", "field"), REFUSED.values(), ids=REFUSED)
def test_a_bad_document_is_refused_and_its_field_named(data: bytes, field: str) -> None:
    """Whole."""
    with pytest.raises(InvalidDocumentError) as refused:
        decode_intents(data)
    assert field in str(refused.value)


def test_changes_at_the_same_time_are_all_kept(store: FileStore) -> None:
    """Four writers, each adds a pool."""

    def add(name: str) -> None:
        change_intents(store, lambda now: replace(now, drain=(*now.drain, PoolName(name))))

    threads = [threading.Thread(target=add, args=(f"pool-{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_intents(store).drain) == {f"pool-{index}" for index in range(4)}


def test_a_change_that_changes_nothing_writes_nothing(store: FileStore) -> None:
    """The object is not even made."""
    assert change_intents(store, lambda now: now) == Intents()
    assert not list(store.list("controller/"))


def test_a_follower_keeps_the_last_good_ones(store: FileStore) -> None:
    """Damage is told until it is repaired; an object that is gone asks for nothing."""
    follower = IntentFollower(store)
    assert not follower.refresh()
    change_intents(store, lambda _: ASKED)
    assert follower.refresh()
    assert not follower.refresh()
    store.put(CONTROLLER_INTENTS, b"{")
    assert not follower.refresh()
    assert (follower.intents, follower.problem is None) == (ASKED, False)
    store.delete(CONTROLLER_INTENTS)
    assert follower.refresh()
    assert (follower.intents, follower.problem) == (Intents(), None)
