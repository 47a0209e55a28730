"""More bots than fit into memory: all of them answer, those that nobody asks for leave for those that somebody does."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from tests.kserve_runtimes.bot_folders import linear_folder, linear_weights
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Replica
from tests.kserve_runtimes.zygotes import Zygote
from tests.waiting import eventually

KEY = key_of("non-realtime", "torch")
POOL = pool_of("non-realtime", "torch")
BOTS = 300
ROOM = 40
ROW = (1.0, 2.0, 3.0, 4.0)


def _names(count: int = BOTS) -> list[str]:
    return [f"bot-{number:03d}" for number in range(count)]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A store with `BOTS` linear bots, each with weights of its own."""
    root = tmp_path_factory.mktemp("crowd")
    fleet = Fleet(root / "fleet")
    fleet.publish(*(linear_folder(root, name, group="non-realtime", seed=at) for at, name in enumerate(_names())))
    fleet.publish_table({KEY: [POOL]})
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def bot_bytes(torch_zygote: Zygote, crowd: Fleet) -> int:
    """What one of the bots measures in memory."""
    with Replica(torch_zygote, crowd, POOL, replica="r-0").wait_ready() as replica:
        assert replica.multiply("bot-000").status == 200
        return int(eventually(lambda: replica.metric("botshard_resident_bytes")))


def _zipf(count: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    weights = list(accumulate(1 / (rank + 1) for rank in range(BOTS)))
    return [bisect.bisect(weights, draw.random() * weights[-1]) for _ in range(count)]


def _is_right(replica: Replica, number: int) -> bool:
    answer = replica.multiply(f"bot-{number:03d}", *ROW)
    if answer.status != 200:
        return False
    expected = linear_weights(number) @ np.array(ROW, np.float32)
    return bool(np.allclose(answer.json["outputs"][0]["data"], expected, rtol=1e-5))


def test_every_answer_is_right_and_memory_stays_within_its_bound(
    torch_zygote: Zygote, crowd: Fleet, bot_bytes: int
) -> None:
    """300 bots, room for 40, asked by Zipf's law from eight sides: nothing fails, and bots leave for each other."""
    budget = bot_bytes * ROOM
    with Replica(
        torch_zygote, crowd, POOL, RUNTIME_POOL_MEMORY=str(budget), RUNTIME_REPORT_INTERVAL_S="0.3"
    ).wait_ready() as replica:
        with ThreadPoolExecutor(9) as threads:
            asked = [threads.submit(_is_right, replica, number) for number in _zipf(2000, 1)]
            seen = []
            while not all(future.done() for future in asked):
                seen.append(replica.metric("botshard_resident_bytes"))
            assert all(future.result() for future in asked)
        assert 0 < max(seen) <= budget
        assert replica.bots()["resident"] <= ROOM
        loads = replica.metric("botshard_loads_total", outcome="loaded")
        assert replica.metric("botshard_evictions_total", reason="room") >= loads - ROOM > 0
        assert 0 < replica.metric("botshard_reloads_total") < loads

        def told() -> bool:
            report = crowd.report(POOL, replica.name)
            assert report is not None
            measured = sum(bot.footprint_bytes == bot_bytes for bot in report.bots.values())
            # What has left memory keeps its measure: placement must not fall back to guessing.
            return report.reloads_per_s > 0 and report.resident_bytes <= budget and measured > ROOM

        eventually(told)


def test_more_requests_at_once_than_bots_fit_are_all_answered(
    torch_zygote: Zygote, crowd: Fleet, bot_bytes: int
) -> None:
    """Room for three: sixty bots are asked at once, and each load waits its turn."""
    memory = str(bot_bytes * 3)
    with Replica(torch_zygote, crowd, POOL, RUNTIME_POOL_MEMORY=memory).wait_ready() as replica:
        with ThreadPoolExecutor(60) as threads:
            assert all(threads.map(lambda number: _is_right(replica, number), [*range(60)] * 3))
        assert replica.bots()["resident"] <= 3


def test_a_new_version_takes_over_where_both_do_not_fit(
    torch_zygote: Zygote, fleet: Fleet, tmp_path: Path, bot_bytes: int
) -> None:
    """With room for one bot, the old version leaves and the next request loads the new one."""
    fleet.publish(linear_folder(tmp_path, "one", group="non-realtime"))
    fleet.publish_table({KEY: [POOL]})
    with Replica(torch_zygote, fleet, POOL, RUNTIME_POOL_MEMORY=str(bot_bytes + 8)).wait_ready() as replica:
        assert replica.multiply("one").headers["x-botshard-bot-version"] == "1"
        fleet.publish(linear_folder(tmp_path, "one", group="non-realtime", seed=2))
        eventually(lambda: replica.multiply("one").headers.get("x-botshard-bot-version") == "2", within_s=5)


def test_a_bot_that_nobody_asks_leaves_after_a_while(torch_zygote: Zygote, crowd: Fleet) -> None:
    """Its memory goes back although nobody needs it; asked again it answers, and that counts as no reload."""
    with Replica(torch_zygote, crowd, POOL, RUNTIME_BOT_IDLE_S="300ms", RUNTIME_POLL_INTERVAL_S="100ms") as replica:
        replica.wait_ready()
        assert _is_right(replica, 1)
        assert eventually(lambda: replica.bots()["resident"] == 0)
        assert replica.metric("botshard_evictions_total", reason="idle") == 1
        assert replica.metric("botshard_resident_bytes") == 0
        assert _is_right(replica, 1)
        assert replica.metric("botshard_reloads_total") == 0


REALTIME, REALTIME_POOL = key_of("realtime", "torch"), pool_of("realtime", "torch")


@pytest.fixture
def realtime(fleet: Fleet, tmp_path: Path) -> Fleet:
    """Ten linear bots in a realtime pool."""
    fleet.publish(*(linear_folder(tmp_path, name, seed=at) for at, name in enumerate(_names(10))))
    fleet.publish_table({REALTIME: [REALTIME_POOL]})
    return fleet


def test_a_realtime_pool_never_lets_a_bot_go(torch_zygote: Zygote, realtime: Fleet, bot_bytes: int) -> None:
    """Whatever it measures: it was promised that every bot is resident."""
    with Replica(
        torch_zygote, realtime, REALTIME_POOL, RUNTIME_POOL_MEMORY=str(bot_bytes * 4), RUNTIME_BOT_IDLE_S="100ms"
    ).wait_ready() as replica:
        assert all(_is_right(replica, number) for number in range(10))
        assert replica.bots()["resident"] == 10


def test_a_realtime_pool_with_overcommit_is_ready_when_it_is_full(
    torch_zygote: Zygote, realtime: Fleet, bot_bytes: int
) -> None:
    """What fits is loaded before anybody asks, the others when somebody does."""
    with Replica(
        torch_zygote, realtime, REALTIME_POOL, RUNTIME_POOL_MEMORY=str(bot_bytes * 4), RUNTIME_OVERCOMMIT="4"
    ).wait_ready() as replica:
        assert 1 <= replica.bots()["resident"] <= 4
        assert all(_is_right(replica, number) for number in range(10))
        assert replica.bots()["resident"] == 4
