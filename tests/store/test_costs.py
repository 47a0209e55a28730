"""What bots have cost a replica, as an object in the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.ids import BotId, Epoch, PoolName
from botshard.store.costs import BotCost, ReplicaCosts, decode_costs, encode_costs, read_costs, write_costs
from botshard.store.files import FileStore
from botshard.store.reports import ReplicaReport, delete_report, write_report

POOL = PoolName("realtime-1a2b3c4d-0")
COSTS = ReplicaCosts(
    POOL,
    "r-1",
    1_700_000_100.5,
    {
        BotId("a"): BotCost(1_700_000_000, 12, 40, 0.012345),
        BotId("b"): BotCost(1_700_000_001, 1, 0, 0.0),
    },
)


def test_costs_come_back_as_they_were_written() -> None:
    """What is nothing is left out."""
    data = encode_costs(COSTS)
    assert decode_costs(data) == COSTS
    assert json.loads(data)["bots"]["b"] == {"sinceS": 1_700_000_001, "requests": 1}


def test_many_bots_are_a_small_object() -> None:
    """Twenty thousand that were all asked: less than two megabytes."""
    bots = {BotId(f"tenant-{n}-bot"): BotCost(1_700_000_000, 10**6 + n, 10**7 + n, 1234.567891) for n in range(20_000)}
    assert len(encode_costs(ReplicaCosts(POOL, "r-1", 1.0, bots))) < 100 * 20_000


def test_what_newer_replicas_write_besides_is_passed_over() -> None:
    """Members that are not known stand in nobody's way."""
    document = json.loads(encode_costs(COSTS))
    document["gpus"] = 1
    document["bots"]["a"]["gpuS"] = 3.5
    assert decode_costs(json.dumps(document).encode()) == COSTS


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        pytest.param({"format": "botshard.costs/v9"}, "format", id="another format"),
        pytest.param({"bots": {"a": {"sinceS": 1, "requests": -1}}}, "requests", id="less than nothing"),
        pytest.param({"bots": {"a": {"requests": 1}}}, "sinceS", id="since when"),
        pytest.param({"bots": {"a b": {"sinceS": 1, "requests": 1}}}, "a b", id="no bot's id"),
    ],
)
def test_damaged_costs_are_refused_with_their_field(edit: dict[str, object], named: str) -> None:
    """Whole, and naming what is wrong."""
    document = json.loads(encode_costs(COSTS)) | edit
    with pytest.raises(InvalidDocumentError, match=named):
        decode_costs(json.dumps(document).encode())


def test_costs_of_a_pool_are_read_and_forgotten_with_the_report(tmp_path: Path) -> None:
    """Each replica's; one that is damaged is told; whoever deletes the report deletes them."""
    store = FileStore(tmp_path)
    write_costs(store, COSTS)
    store.put(f"costs/{POOL}/r-2.json", b"{")
    found, problems = read_costs(store, POOL)
    assert found == (COSTS,)
    assert list(problems) == [f"costs/{POOL}/r-2.json"]
    report = ReplicaReport(POOL, "r-1", Epoch(1), 1, True, Epoch(1), 1.0, 0, 0, 0, 0, {})
    write_report(store, report)
    delete_report(store, POOL, replica="r-1")
    assert [entry.key for entry in store.list("")] == [f"costs/{POOL}/r-2.json"]
    store.close()
