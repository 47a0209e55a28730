"""A realtime replica follows what is published while it runs: versions, bots, shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.bots.rollouts import retire, rollback
from botshard.sharding.ids import BotId, PoolName
from botshard.sharding.residency import Residency
from botshard.store.layout import TABLE_CURRENT, catalog_key_of
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = key_of("realtime", "torch")
POOL = pool_of("realtime", "torch")
OTHER = pool_of("realtime", "torch", 1)
SEEN_WITHIN_S = 2.0
"""What the product promises for a change."""


@pytest.fixture
def replica(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> Iterator[Replica]:
    """A ready replica of `POOL` with the bots `one` and `two`."""
    fleet.publish(linear_folder(tmp_path, "one"), linear_folder(tmp_path, "two"))
    fleet.publish_table({KEY: [POOL]})
    with Replica(torch_zygote, fleet, POOL) as replica:
        yield replica.wait_ready()


def _version(replica: Replica, bot: str) -> str | None:
    return replica.multiply(bot).headers.get("x-botshard-bot-version")


def test_a_new_version_takes_over_and_can_be_rolled_back(replica: Replica, fleet: Fleet, tmp_path: Path) -> None:
    """Within two seconds each, and no request fails meanwhile."""
    first = replica.multiply("one").json["outputs"]
    fleet.publish(linear_folder(tmp_path, "one", seed=2))
    eventually(lambda: _version(replica, "one") == "2", within_s=SEEN_WITHIN_S)
    assert replica.multiply("one").json["outputs"] != first
    assert replica.post("/v2/models/one/versions/1/infer", {}).status == 404
    rollback(fleet.store, "one")
    eventually(lambda: _version(replica, "one") == "1", within_s=SEEN_WITHIN_S)
    assert replica.multiply("one").json["outputs"] == first


def test_a_new_bot_is_found_by_its_first_request(replica: Replica, fleet: Fleet, tmp_path: Path) -> None:
    """Without waiting for the poll: a request for an unknown bot looks at its catalog object once."""
    assert replica.multiply("three").status == 404
    fleet.publish(linear_folder(tmp_path, "three"))
    assert eventually(lambda: replica.multiply("three").status == 200, within_s=SEEN_WITHIN_S)


def test_a_retired_bot_is_unknown_and_leaves_memory(replica: Replica, fleet: Fleet) -> None:
    """And comes back with the next publish of the same folder."""
    retire(fleet.store, "one")
    eventually(lambda: replica.multiply("one").status == 404, within_s=SEEN_WITHIN_S)
    assert eventually(lambda: replica.bots()["resident"] == 1)
    assert replica.multiply("two").status == 200


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    replica: Replica, fleet: Fleet, tmp_path: Path
) -> None:
    """The failure is reported with its reason, and a good version after it takes over."""
    fleet.publish(linear_folder(tmp_path, "one", seed=3))
    fleet.damage("one")

    def reported() -> bool:
        report = fleet.report(POOL, replica.name)
        assert report is not None
        bot = {str(bot_id): bot for bot_id, bot in report.bots.items()}["one"]
        return (
            bot.state is Residency.RESIDENT and bot.version == 1 and "version 2 cannot be loaded" in (bot.error or "")
        )

    if _version(replica, "one") != "2":  # it may have been loaded before it was damaged
        eventually(reported)
        assert _version(replica, "one") == "1"
    fleet.publish(linear_folder(tmp_path, "one", seed=4))
    eventually(lambda: _version(replica, "one") == "3", within_s=SEEN_WITHIN_S)


def test_a_shard_that_moves_away_is_served_until_it_lingers_no_more(replica: Replica, fleet: Fleet) -> None:
    """Routed elsewhere but lingering: 200; then 421 with the new epoch, and the memory is given back."""
    fleet.publish_table({KEY: [OTHER]}, lingering={KEY: POOL})
    eventually(lambda: replica.get("/pool/ready").json["epoch"] == 2)
    assert replica.multiply("one").status == 200
    fleet.publish_table({KEY: [OTHER]})
    answer = eventually(lambda: (found := replica.multiply("one")).status == 421 and found)
    assert answer
    assert answer.headers["x-botshard-epoch"] == "3"
    assert eventually(lambda: sum(replica.bots().values()) == 0)


def test_a_bot_that_was_let_go_is_told_of_by_its_rate_alone(replica: Replica, fleet: Fleet) -> None:
    """It fades: whoever has the bot now tells its own rate little by little, and the sum is what it is asked."""
    for _ in range(30):
        assert replica.multiply("one").status == 200
    fleet.publish_table({KEY: [OTHER]})

    def told() -> float | None:
        report = fleet.report(POOL, replica.name)
        return report.left_rates.get(BotId("one")) if report is not None and not report.bots else None

    first = eventually(told)
    assert first
    assert eventually(lambda: 0 < (told() or 0.0) < first)


def test_a_request_with_a_newer_epoch_makes_the_replica_look(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """A router that already moved is answered although this replica's poll is an hour away."""
    fleet.publish(linear_folder(tmp_path, "one"))
    fleet.publish_table({KEY: [OTHER]})
    with Replica(torch_zygote, fleet, POOL, RUNTIME_POLL_INTERVAL_S="1h") as replica:
        eventually(lambda: replica.get("/pool/ready").json["epoch"] == 1)
        assert replica.multiply("one", x_botshard_epoch="1").status == 421
        fleet.publish_table({KEY: [POOL]})
        assert replica.multiply("one", x_botshard_epoch="1").status == 421
        answer = replica.multiply("one", x_botshard_epoch="2")
        assert (answer.status, answer.headers["x-botshard-epoch"]) == (200, "2")


def test_a_warming_pool_reports_the_epoch_that_it_has_warmed_up_to(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """Which is what the controller waits for before it routes there."""
    fleet.publish(linear_folder(tmp_path, "one"))
    fleet.publish_table({KEY: [OTHER]})
    with Replica(torch_zygote, fleet, POOL).wait_ready() as replica:
        assert replica.bots()["resident"] == 0
        epoch = fleet.publish_table({KEY: [OTHER]}, targets={KEY: POOL})

        def warmed() -> bool:
            report = fleet.report(POOL, replica.name)
            return report is not None and report.warmed_epoch == epoch and report.ready

        eventually(warmed)
        assert replica.bots()["resident"] == 1


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b'{"format":"botshard.table/v1"', id="cut off"),
        pytest.param(b'{"format":"botshard.table/v1","epoch":9,"groups":{},"families":[{}]}', id="nonsense"),
    ],
)
def test_a_malformed_table_is_refused_and_the_last_good_one_stays(
    replica: Replica, fleet: Fleet, document: bytes
) -> None:
    """Refused whole, counted, and replaced by the next good one."""
    fleet.store.put(TABLE_CURRENT, document)
    eventually(lambda: replica.metric("botshard_refused_documents_total", document="table") >= 1)
    assert replica.multiply("one").headers["x-botshard-epoch"] == "1"


def test_a_bot_larger_than_its_pool_is_refused_with_the_numbers(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """The operator sees what it takes and what there is."""
    fleet.publish(linear_folder(tmp_path, "one"))
    fleet.publish_table({KEY: [POOL]})
    with Replica(torch_zygote, fleet, POOL, RUNTIME_POOL_MEMORY="64").wait_ready() as replica:
        answer = replica.multiply("one")
        assert (answer.status, "its pool has 64 B" in answer.error) == (503, True)


def test_a_pool_that_nobody_named_yet_is_ready_and_empty(torch_zygote: Zygote, fleet: Fleet) -> None:
    """The controller starts a pool before it publishes a table with it."""
    with Replica(torch_zygote, fleet, PoolName("realtime-torch-00000000-000000")).wait_ready() as replica:
        answer = replica.multiply("one")
        assert (answer.status, answer.headers["x-botshard-epoch"]) == (404, "0")


def test_a_replica_that_cannot_know_its_bots_takes_over_no_shard(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """A catalog object that was damaged before it started: 503 for its bots, the others are served, nothing is warm."""
    fleet.publish(linear_folder(tmp_path, "one"), linear_folder(tmp_path, "two"))
    good = fleet.store.get(catalog_key_of(BotId("one"))).data
    fleet.store.put(catalog_key_of(BotId("one")), good[: len(good) // 2])
    epoch = fleet.publish_table({KEY: [OTHER]}, targets={KEY: POOL})
    with Replica(torch_zygote, fleet, POOL).wait_ready() as replica:
        answer = replica.multiply("one")
        assert (answer.status, answer.headers.get("retry-after") is not None) == (503, True)
        assert catalog_key_of(BotId("one")) in answer.error
        assert replica.multiply("two").status == 200
        assert replica.multiply("three").status == 404
        eventually(lambda: fleet.report(POOL, replica.name))
        report = fleet.report(POOL, replica.name)
        assert report is not None
        assert (report.ready, report.warmed_epoch) == (True, 0)
        fleet.store.put(catalog_key_of(BotId("one")), good)

        def warmed() -> bool:
            report = fleet.report(POOL, replica.name)
            return report is not None and report.warmed_epoch == epoch

        eventually(warmed, within_s=20.0)
        assert replica.multiply("one").status == 200
