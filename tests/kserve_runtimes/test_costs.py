"""What a bot costs: counted for each, told by the replica, kept in the store, shown for the busiest in the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from botshard.sharding.ids import BotId, PoolName
from botshard.store.costs import BotCost, read_costs
from kserve_runtimes.core.costs import BotCosts
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.times import Times
from kserve_runtimes.serving.timing import timing_line
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.conftest import Served
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually


@pytest.fixture
def sleepy(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> Iterator[Replica]:
    """A pool that loads its bots when they are asked for: `a`, `b`, `c`; two of them may have a label."""
    fleet.publish(*[linear_folder(tmp_path, bot, group="non-realtime", seed=1) for bot in "abc"])
    pool = pool_of("non-realtime", "torch")
    fleet.publish_table({key_of("non-realtime", "torch"): [pool]})
    with Replica(torch_zygote, fleet, pool, RUNTIME_REPORT_INTERVAL_S="100ms", RUNTIME_TOP_BOTS="2") as replica:
        yield replica.wait_ready()


def _in_store(fleet: Fleet, pool: PoolName) -> Mapping[BotId, BotCost]:
    costs, problems = read_costs(fleet.store, pool)
    assert not problems
    return costs[0].bots if costs else {}


def test_each_bots_requests_rows_and_cpu_are_counted(sleepy: Replica, fleet: Fleet) -> None:
    """On threads and on the loop, good requests and bad; the replica tells them at once, the store soon."""
    for _ in range(30):
        assert sleepy.multiply("a").status == 200
    assert sleepy.post("/v2/models/a/infer", {"inputs": []}).status == 400
    three = {"name": "x", "datatype": "FP32", "shape": [3, 4], "data": [0.5] * 12}
    assert sleepy.post("/v2/models/b/infer", {"inputs": [three]}).status == 200
    assert sleepy.multiply("nobody").status == 404

    told = sleepy.get("/pool/bots/a").json
    assert (told["state"], told["version"], told["failure"]) == ("resident", 1, None)
    assert told["bytes"] > 32
    assert told["loadS"] > 0
    assert told["queue"] == {"waitingForLoad": 0, "waitingOrRunning": 0}
    costs = told["costs"]
    assert (costs["requests"], costs["rows"], costs["runsOnLoop"]) == (31, 30, True)
    assert 0 < costs["cpuS"] < 2
    assert costs["cpuPerRowS"] == pytest.approx(costs["cpuS"] / 30, abs=1e-6)
    assert all(0 <= mean_s < 1 for mean_s in costs["meanS"].values())
    assert sleepy.get("/pool/bots/b").json["costs"]["rows"] == 3

    assert sleepy.metric("botshard_runs_total") == 32
    assert sleepy.metric("botshard_rows_total") == 33
    assert 0 < sleepy.metric("botshard_cpu_seconds_total") < 4
    eventually(lambda: len(_in_store(fleet, sleepy.pool)) == 2, within_s=10)
    kept = _in_store(fleet, sleepy.pool)
    assert {bot: (cost.requests, cost.rows) for bot, cost in kept.items()} == {"a": (31, 30), "b": (1, 3)}
    assert kept[BotId("a")].cpu_s == pytest.approx(costs["cpuS"], abs=1e-5)


def test_a_bot_that_nobody_asked_is_told_without_loading_it(sleepy: Replica) -> None:
    """Looking changes nothing; bots that do not exist are 404 here too."""
    told = sleepy.get("/pool/bots/c").json
    assert (told["state"], told["version"], told["costs"], told["loadS"]) == ("absent", None, None, None)
    assert sleepy.bots()["resident"] == 0
    assert sleepy.get("/pool/bots/nobody").status == 404
    assert sleepy.post("/pool/bots/c", {}).status == 405


def test_costs_outlast_an_eviction(sleepy: Replica) -> None:
    """A bot that leaves memory and comes back goes on counting; why it was loaded is counted too."""
    for _ in range(2):
        assert sleepy.multiply("a").status == 200
        assert sleepy.post("/v2/repository/models/a/unload", {}).status == 200
    assert sleepy.get("/pool/bots/a").json["costs"]["requests"] == 2
    assert sleepy.metric("botshard_load_seconds_count", reason="asked") == 2
    assert sleepy.metric("botshard_load_seconds_count", reason="warm") == 0


def test_the_last_costs_are_written_at_the_end(torch_zygote: Zygote, fleet: Fleet, tmp_path: Path) -> None:
    """A replica that is stopped leaves what its bots have cost, and a new one of its name begins again."""
    fleet.publish(linear_folder(tmp_path, "a", seed=1))
    pool = pool_of("realtime", "torch")
    fleet.publish_table({key_of("realtime", "torch"): [pool]})
    for asked in (7, 2):
        with Replica(torch_zygote, fleet, pool, RUNTIME_REPORT_INTERVAL_S="1h") as replica:
            replica.wait_ready()
            for _ in range(asked):
                assert replica.multiply("a").status == 200
        assert _in_store(fleet, pool)[BotId("a")].requests == asked


def test_answers_say_where_their_time_went(sleepy: Replica) -> None:
    """`Server-Timing`: its parts are within the time that the request was there; the first one waited for a load."""
    stages = ["up", "all", "wait", "fetch", "load", "queue", "pre", "predict", "post"]
    first, second = (_times_in(sleepy.multiply("a").headers["server-timing"]) for _ in range(2))
    for times in (first, second):
        assert list(times) == [*stages, "batch"]
        assert times["batch"] == 1
        assert sum(times[stage] for stage in stages[2:]) <= times["all"] + 0.01
        assert 0 < times["all"] < times["up"]
    assert first["fetch"] > 0
    assert first["load"] > 0
    assert second["wait"] == second["fetch"] == second["load"] == 0
    assert "server-timing" not in sleepy.multiply("nobody").headers


def test_what_is_told_of_the_beginning_is_told_for_a_minute_only() -> None:
    """After that, of ordinary answers only the ordinary stages."""
    times = Times(0.001, 0.0)
    names = list(_times_in(timing_line(times, b"").decode().partition(": ")[2]))
    assert names == ["queue", "pre", "predict", "post", "batch"]


def test_who_joins_a_load_is_told_its_own_part() -> None:
    """What it did not wait for is not its own: the end of the load comes first, then files, then waiting."""
    times = Times(0.0, 0.5)
    times.split_load(fetched_s=0.2, made_s=0.1)
    assert (times.fetch_s, times.wait_s) == pytest.approx((0.2, 0.2))
    times.split_load(fetched_s=0.2, made_s=0.4)
    assert (times.fetch_s, times.wait_s) == pytest.approx((0.1, 0.0))
    times.split_load(fetched_s=0.2, made_s=0.6)
    assert (times.fetch_s, times.wait_s) == pytest.approx((0.0, 0.0))


def _times_in(header: str) -> dict[str, float]:
    """Milliseconds by stage, and the rows of the batch."""
    parts = (part.strip().partition(";") for part in header.split(","))
    return {name: float(value.partition("=")[2]) for name, _, value in parts}


def test_answers_do_not_say_it_where_that_is_switched_off(served: Served, torch_zygote: Zygote) -> None:
    """A setting."""
    assert "server-timing" in served.replica.multiply("linear").headers
    with Replica(torch_zygote, served.fleet, served.pool, replica="r-2", RUNTIME_SERVER_TIMING="false") as replica:
        assert "server-timing" not in replica.wait_ready().multiply("linear").headers


def test_the_busiest_bots_have_a_label(sleepy: Replica) -> None:
    """Two of three; the third is among the others, and every request is in one series."""
    for bot, asked in (("a", 3), ("b", 3)):
        for _ in range(asked):
            assert sleepy.multiply(bot).status == 200

    def labelled() -> bool:
        assert sleepy.multiply("a").status == 200
        assert sleepy.multiply("b").status == 200
        counts = [sleepy.metric("botshard_bot_requests_total", bot=bot) for bot in "ab"]
        return min(counts) > 0

    eventually(labelled, within_s=10)
    assert sleepy.multiply("c").status == 200
    counts = {bot: sleepy.metric("botshard_bot_requests_total", bot=bot) for bot in ("a", "b", "c", "other")}
    assert counts["c"] == 0
    assert sum(counts.values()) == sleepy.metric("botshard_runs_total")
    seconds = sum(sleepy.metric("botshard_bot_seconds_total", bot=bot) for bot in ("a", "b", "other"))
    assert seconds == pytest.approx(sleepy.metric("botshard_cpu_seconds_total"))


class _Traffic:
    """Bots that are asked, and what Prometheus sees of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("kserve_runtimes.core.top_bots.monotonic", lambda: self.now_s)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, top_bots=2)
        self.costs: dict[BotId, BotCosts] = {}

    def ask(self, **requests: int) -> None:
        """So many requests of each."""
        for bot, count in requests.items():
            for _ in range(count):
                times = Times(0.0, 0.0)
                times.predict_s, times.batch_rows = 0.1, 1
                self.costs.setdefault(BotId(bot), BotCosts()).note(times, 1, 0.1)
                self.metrics.note_run(times, 1, 0.1)

    def rank(self, **rates: float) -> None:
        """A minute later."""
        self.now_s += 61
        self.metrics.top_bots.rank({BotId(bot): rate for bot, rate in rates.items()}, self.costs)

    def seen(self) -> dict[str, float]:
        """The counters of requests."""
        families = text_string_to_metric_families(generate_latest(self.registry).decode())
        samples = {
            (sample.name, sample.labels["bot"]): sample.value
            for family in families
            for sample in family.samples
            if "bot" in sample.labels
        }
        requests = {bot: value for (name, bot), value in samples.items() if name == "botshard_bot_requests_total"}
        for bot, count in requests.items():
            assert samples["botshard_bot_seconds_total", bot] == pytest.approx(count / 10)
        return requests


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> _Traffic:
    """Two bots may have a label."""
    return _Traffic(monkeypatch)


def test_no_counter_goes_back_when_bots_change_places(traffic: _Traffic) -> None:
    """What was counted before a label stays with the others, what a label has counted goes with it."""
    traffic.ask(a=5, b=5, c=1)
    assert traffic.seen() == {"other": 11}
    traffic.rank(a=5, b=4, c=1)
    traffic.ask(a=10, b=1, c=2)
    assert traffic.seen() == {"a": 10, "b": 1, "other": 13}
    traffic.rank(a=5, b=1, c=3)
    assert traffic.seen() == {"a": 10, "c": 0, "other": 13}
    traffic.ask(b=4, c=1)
    assert traffic.seen() == {"a": 10, "c": 1, "other": 17}
    traffic.rank(a=5, b=9, c=1)
    assert traffic.seen() == {"a": 10, "b": 0, "other": 17}, "a new series of b, from nothing"


def test_labels_are_not_swapped_for_a_little(traffic: _Traffic) -> None:
    """Not within a minute, and not for less than a quarter more traffic."""
    traffic.ask(a=1, b=1, c=1)
    traffic.rank(a=5, b=4, c=3)
    traffic.rank(a=5, b=4, c=4.5)
    assert list(traffic.seen()) == ["a", "b", "other"]
    traffic.now_s -= 61
    traffic.rank(a=5, b=4, c=100)
    assert list(traffic.seen()) == ["a", "b", "other"]
    traffic.rank(a=5, b=4, c=100)
    assert list(traffic.seen()) == ["a", "c", "other"]


def test_a_bot_called_other_has_no_label(traffic: _Traffic) -> None:
    """It would be taken for all others. A bot that is gone loses its label, its requests are not lost."""
    traffic.ask(other=9, a=2)
    traffic.rank(other=9, a=2)
    traffic.ask(other=1, a=1)
    assert traffic.seen() == {"a": 1, "other": 11 + 1}
    del traffic.costs[BotId("a")]
    traffic.rank(other=9)
    assert traffic.seen() == {"other": 12}
