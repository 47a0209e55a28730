"""A pool that loads its bots when they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from botshard.sharding.ids import BotId
from tests.kserve_runtimes.bot_folders import linear_folder, text_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = key_of("non-realtime", "torch")
POOL = pool_of("non-realtime", "torch")


@pytest.fixture
def replica(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> Iterator[Replica]:
    """A replica with the bots `one`, `two` and `three`, none of them loaded."""
    fleet.publish(
        *(linear_folder(tmp_path, name, group="non-realtime") for name in ("one", "two")),
        text_folder(tmp_path, "three", group="non-realtime"),
    )
    fleet.publish_table({KEY: [POOL]})
    with Replica(torch_zygote, fleet, POOL, RUNTIME_REPORT_INTERVAL_S="0.3") as replica:
        yield replica.wait_ready()


def test_fifty_first_requests_cause_one_load(replica: Replica) -> None:
    """Everybody waits for the one load, and everybody is answered."""
    assert replica.bots()["absent"] == 3
    with ThreadPoolExecutor(50) as threads:
        statuses = list(threads.map(lambda _: replica.ask("three", "hello").status, range(50)))
    assert statuses == [200] * 50
    assert replica.metric("botshard_loads_total", outcome="loaded") == 1
    assert replica.bots() == {"absent": 2, "loading": 0, "resident": 1, "draining": 0, "failed": 0}


def test_asking_whether_a_bot_is_ready_makes_it_ready(replica: Replica) -> None:
    """A client that polls for readiness comes to an end without an inference."""
    assert replica.get("/v2/models/one/ready").status == 503
    eventually(lambda: replica.get("/v2/models/one/ready").status == 200)


def test_an_unloaded_bot_is_loaded_again_by_the_next_request(replica: Replica) -> None:
    """Unloading takes memory, not the bot."""
    assert replica.multiply("one").status == 200
    assert replica.post("/v2/repository/models/one/unload", {}).json == {"name": "one", "unload": True}
    assert replica.bots()["resident"] == 0
    assert replica.multiply("one").status == 200
    assert replica.metric("botshard_loads_total", outcome="loaded") == 2


def test_a_failed_load_is_not_tried_again_at_once(replica: Replica, fleet: Fleet, tmp_path: Path) -> None:
    """Twenty requests for a broken bot cost one load, not twenty; repaired, it is served."""
    fleet.publish(linear_folder(tmp_path, "four", group="non-realtime", seed=77))
    fleet.damage("four")
    assert replica.multiply("four").status == 503
    failed = replica.metric("botshard_loads_total", outcome="failed")
    assert {replica.multiply("four").status for _ in range(20)} == {503}
    assert replica.metric("botshard_loads_total", outcome="failed") - failed <= 1
    fleet.publish(linear_folder(tmp_path, "four", group="non-realtime", seed=78))
    eventually(lambda: replica.multiply("four").status == 200, within_s=5)


def test_reports_tell_footprint_and_rate_of_each_bot(replica: Replica, fleet: Fleet) -> None:
    """Measured bytes and requests a second, for whoever places bots and for the next start."""
    for _ in range(30):
        replica.ask("three", "hello")

    def told() -> bool:
        report = fleet.report(POOL, replica.name)
        assert report is not None
        bot = report.bots[BotId("three")]
        # 256 x 16 + 16 x 3 weights and their biases, four bytes each, and what the steps hold.
        return bot.footprint_bytes > 4 * (256 * 16 + 16 + 16 * 3 + 3) and bot.rate_per_s > 0 and bot.load_s > 0

    eventually(told)
    report = fleet.report(POOL, replica.name)
    assert report is not None
    assert report.requests_total == 30
    assert report.resident_bytes == report.bots[BotId("three")].footprint_bytes
    assert report.base_rss_bytes > 0


def test_a_report_whose_only_news_is_the_time_is_written_more_rarely(replica: Replica, fleet: Fleet) -> None:
    """Every third interval: young enough for whoever asks whether the replica lives, and a third of the writing."""
    times_s: list[float] = []

    def are_rare() -> bool:
        report = fleet.report(POOL, replica.name)
        if report is not None and report.at_s not in times_s:
            times_s.append(report.at_s)
        gaps_s = [after - before for before, after in pairwise(times_s[-4:])]
        return len(gaps_s) == 3 and min(gaps_s) > 2.4 * 0.3

    eventually(are_rare)


def test_a_store_that_is_away_is_told_apart_from_a_bot_that_does_not_exist(replica: Replica, fleet: Fleet) -> None:
    """Resident bots go on answering; others are 503 until it is back, and then served."""
    assert replica.multiply("one").status == 200
    away = fleet.folder / "away"
    (fleet.folder / "store").rename(away)
    try:
        assert replica.multiply("one").status == 200
        unknown = eventually(lambda: (found := replica.multiply("nobody")).status == 503 and found)
        assert unknown
        assert replica.multiply("two").status == 503
    finally:
        shutil.rmtree(fleet.folder / "store", ignore_errors=True)
        away.rename(fleet.folder / "store")
    eventually(lambda: replica.multiply("two").status == 200, within_s=5)
    assert replica.multiply("nobody").status == 404


def test_whoever_wakes_a_replica_is_answered_before_the_catalog_is_read(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path
) -> None:
    """The bot's own catalog object is enough, also for a neighbour in the same object; readiness waits for the rest."""
    fleet.publish(*(linear_folder(tmp_path, f"bot-{index}", group="non-realtime") for index in range(8)))
    fleet.publish_table({KEY: [POOL]})
    with Replica(torch_zygote, fleet, POOL) as replica:
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda index: replica.multiply(f"bot-{index}").status, range(8)))
        assert answers == [200] * 8
        assert replica.wait_ready().bots()["resident"] == 8
