"""What every runtime does alike when bots come, change and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.kserve_runtimes.behaviour.conftest import Zygotes, expected, replica_of
from tests.kserve_runtimes.behaviour.kinds import Kind
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.kserve_runtimes.replicas import Answer, Replica
from tests.waiting import eventually

ROW = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)


@pytest.fixture
def sleepy(kind: Kind, zygotes: Zygotes, fleet: Fleet, models: Path) -> Iterator[Replica]:
    """A replica that loads `linear` when it is asked for it, and may let it go."""
    fleet.publish(kind.make(models, "linear", "non-realtime", 1))
    pool = pool_of("non-realtime", kind.framework)
    fleet.publish_table({key_of("non-realtime", kind.framework): [pool]}, request_timeout_s=20.0)
    with replica_of(kind, zygotes, fleet, pool) as replica:
        yield replica.wait_ready()


def _check(answer: Answer) -> str:
    """The version that answered, whose answer has to be its own."""
    assert answer.status == 200, answer.body
    version = answer.headers["x-botshard-bot-version"]
    wanted = expected(ROW, seed=int(version)).ravel()
    assert answer.json["outputs"][0]["data"] == pytest.approx(wanted, abs=1e-5)
    return version


def test_a_new_version_takes_over_under_load(sleepy: Replica, kind: Kind, fleet: Fleet, models: Path) -> None:
    """Four clients ask all the time: none is refused, and each answer is that of the version that it names."""
    done = threading.Event()

    def ask() -> list[str]:
        versions = []
        while not done.is_set():
            versions.append(_check(sleepy.multiply("linear")))
        return versions

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        try:
            eventually(lambda: sleepy.bots()["resident"] == 1, within_s=40)
            fleet.publish(kind.make(models, "linear", "non-realtime", 2))
            eventually(lambda: _check(sleepy.multiply("linear")) == "2", within_s=40)
        finally:
            done.set()
        told = [one.result() for one in asking]
    assert all(versions == sorted(versions) for versions in told)  # nobody goes back
    assert {version for versions in told for version in versions} >= {"1"}


def test_a_bot_leaves_and_comes_back(sleepy: Replica) -> None:
    """Evicted and asked again, five times: it answers the same."""
    for _ in range(5):
        _check(sleepy.multiply("linear"))
        assert sleepy.post("/v2/repository/models/linear/unload", {}).status == 200
        eventually(lambda: sleepy.bots()["resident"] == 0)


def test_many_wait_for_one_load(sleepy: Replica) -> None:
    """Eight at once for a bot that is absent: one load, eight answers."""
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: sleepy.multiply("linear"), range(8)))
    assert {_check(answer) for answer in answers} == {"1"}
    assert sleepy.metric("botshard_loads_total", outcome="loaded") == 1
