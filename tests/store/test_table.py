"""The routing table in the store: one publisher wins, followers keep the last good one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from botshard.sharding.codec import encode_table
from botshard.sharding.ids import Epoch, GroupName
from botshard.sharding.routing import GroupRoute, RoutingTable
from botshard.store.base import ObjectStore, PreconditionFailedError, StoreUnavailableError
from botshard.store.layout import TABLE_CURRENT
from botshard.store.table import TableFollower, TableStore
from tests.store.homes import Home


def table(epoch: int, *, request_timeout_s: float = 5.0) -> RoutingTable:
    groups = {GroupName("realtime"): GroupRoute(True, request_timeout_s, 10.0)}
    return RoutingTable(Epoch(epoch), groups, {})


def test_of_two_controllers_one_publishes(store: ObjectStore) -> None:
    """A table replaces exactly the one that its controller has read."""
    tables = TableStore(store)
    assert tables.read() is None
    first = tables.publish(table(1), previous_etag=None)
    assert tables.read() == (table(1), first)
    second = tables.publish(table(2), previous_etag=first)

    for stale in (None, first):
        with pytest.raises(PreconditionFailedError):
            tables.publish(table(3), previous_etag=stale)

    assert tables.read() == (table(2), second)


def test_a_follower_takes_up_newer_tables(store: ObjectStore) -> None:
    """`refresh` is true once for each new table."""
    tables, follower = TableStore(store), TableFollower(store)
    assert not follower.refresh()
    assert follower.table is None
    etag = tables.publish(table(1), previous_etag=None)

    assert follower.refresh()
    assert not follower.refresh()
    assert follower.table == table(1)
    tables.publish(table(4), previous_etag=etag)
    assert follower.refresh()

    assert follower.table == table(4)
    assert follower.problem is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode_table(table(9))[:-9], "must be one JSON object", id="truncated"),
        pytest.param(encode_table(table(9)).replace(b"5.0", b"-5.0"), "requestTimeoutS: must be", id="wrong field"),
        pytest.param(encode_table(table(6)), "epoch 6 is older than the 7", id="older"),
        pytest.param(
            encode_table(table(7, request_timeout_s=1.0)), "another table than the one in force", id="same epoch"
        ),
    ],
)
def test_a_bad_table_is_refused_and_the_last_good_one_stays(store: ObjectStore, data: bytes, expected: str) -> None:
    """The reason stays until something acceptable is published."""
    tables, follower = TableStore(store), TableFollower(store)
    tables.publish(table(7), previous_etag=None)
    follower.refresh()
    etag = store.put(TABLE_CURRENT, data)

    for _ in range(2):
        assert not follower.refresh()
        assert follower.table == table(7)
        assert follower.problem is not None
        assert expected in follower.problem
    tables.publish(table(8), previous_etag=etag)

    assert follower.refresh()
    assert follower.table == table(8)
    assert follower.problem is None


def test_a_table_that_vanishes_stays_in_force(store: ObjectStore) -> None:
    """Its absence is told; when it is back as it was, all is well."""
    follower = TableFollower(store)
    TableStore(store).publish(table(7), previous_etag=None)
    follower.refresh()
    store.delete(TABLE_CURRENT)

    assert not follower.refresh()
    assert follower.problem == "table/current.json is gone; epoch 7 stays in force"
    store.put(TABLE_CURRENT, encode_table(table(7)))

    assert not follower.refresh()
    assert follower.problem is None
    assert follower.table == table(7)


def test_a_store_that_is_away_leaves_the_table_in_force(own_home: Home) -> None:
    """The error comes through, the table stays, and the next poll after the outage works."""
    store = own_home.open()
    follower = TableFollower(store)
    etag = TableStore(store).publish(table(1), previous_etag=None)
    follower.refresh()
    own_home.take_away()
    with pytest.raises(StoreUnavailableError):
        follower.refresh()
    assert follower.table == table(1)
    own_home.bring_back()

    TableStore(store).publish(replace(table(2)), previous_etag=etag)

    assert follower.refresh()
    store.close()
