"""The asking process, against a replica that speaks both protocols, and against nobody."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from benchmarks.pool_bots import infer_request, publish_all
from benchmarks.pool_rest import replica
from benchmarks.pool_subjects import free_port, running
from loadtests.asking.exchanges import Results
from loadtests.asking.orders import Asked, Orders
from loadtests.asking.running import Asking
from loadtests.fleet import QUESTION, Fleet, make_fleet, write_bots
from loadtests.traffic.popularity import zipf
from loadtests.traffic.timetable import GRPC, REST, Phase, Timetable, make_timetable
from tests.waiting import eventually

_BOTS = 12
_NOBODY = "nobody"


@dataclass(frozen=True)
class Served:
    """A replica and its bots."""

    fleet: Fleet
    url: str
    grpc: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One replica with a dozen bots, over REST and gRPC."""
    folder = tmp_path_factory.mktemp("asked")
    fleet = make_fleet(_BOTS, tenants=3, realtime_share=1.0, seed=1)
    published = publish_all(folder / "published", write_bots(folder / "bots", fleet.bots))
    subject = replica(published, [infer_request(fleet.bots[0].id, QUESTION.encode())])
    rpc = free_port()
    subject.environ = {**subject.environ, "RUNTIME_GRPC_PORT": str(rpc)}
    with running([subject]):
        yield Served(fleet, f"http://127.0.0.1:{subject.port}", f"127.0.0.1:{rpc}")


def _orders(served: Served, folder: Path, timetable: Timetable, **changed: Asked) -> Orders:
    """`changed`: other bots in the place of those of the fleet, by their index as `bot_3`."""
    bots = [changed.get(f"bot_{index}", Asked(bot.id, [bot.answer(1)])) for index, bot in enumerate(served.fleet.bots)]
    return Orders(timetable, bots, QUESTION, served.url, served.grpc, folder / "results", users=20, patience_s=10.0)


def _timetable(seconds: float, *, per_s: float = 100.0, grpc_share: float = 0.5) -> Timetable:
    tenants = ["t"] * _BOTS
    return make_timetable([Phase("a", seconds)], zipf(_BOTS), tenants, base_per_s=per_s, seed=1, grpc_share=grpc_share)


def _ask(orders: Orders, folder: Path) -> Results:
    with Asking(orders, folder) as asking:
        asking.wait()
    return asking.results()


def test_a_timetable_is_followed_over_both_protocols(served: Served, tmp_path: Path) -> None:
    """Each request of it once, at its moment, answered by its bot's own weights; latency holds its lateness."""
    timetable = _timetable(2.0)
    results = _ask(_orders(served, tmp_path, timetable), tmp_path)
    assert results.is_whole
    asked = [(one.at_s, one.bot, one.protocol) for one in results.exchanges]
    assert asked == sorted((round(one.at_s, 6), one.bot, one.protocol) for one in timetable.arrivals)
    assert {one.protocol for one in results.exchanges} == {REST, GRPC}
    assert Counter(one.cause for one in results.exchanges) == {"": len(timetable.arrivals)}
    assert {one.version for one in results.exchanges} == {1}
    assert {one.cold for one in results.exchanges if one.protocol == REST} <= {0, 1}
    assert all(one.took_s >= one.late_s for one in results.exchanges)


def test_what_goes_wrong_is_told_by_its_cause(served: Served, tmp_path: Path) -> None:
    """Unknown bots, answers of other weights, nobody who listens: each its own cause, over both protocols."""
    own = served.fleet.bots[1]
    orders = _orders(
        served,
        tmp_path,
        _timetable(1.0),
        bot_0=Asked(_NOBODY, [[1.0]]),
        bot_1=Asked(own.id, [own.answer(2)]),
        bot_2=Asked(own.id, [own.answer(1)], f"http://127.0.0.1:{free_port()}"),
    )
    results = _ask(orders, tmp_path)
    causes = {
        (bot, protocol): {one.cause for one in results.exchanges if (one.bot, one.protocol) == (bot, protocol)}
        for bot in range(3)
        for protocol in (REST, GRPC)
    }
    (unknown,) = causes[0, REST]
    assert re.match(r"404 .*BOT", unknown)
    (unknown,) = causes[0, GRPC]
    assert unknown.startswith("NOT_FOUND")
    assert causes[1, REST] == causes[1, GRPC] == {"an answer of other weights"}
    assert causes[2, REST] == {"connection refused"}


def test_requests_that_wait_for_a_free_user_count_their_wait(served: Served, tmp_path: Path) -> None:
    """One user cannot keep up with its timetable; what is due meanwhile is late, and is asked all the same."""
    timetable = _timetable(0.2, per_s=3_000.0, grpc_share=0.0)
    orders = _orders(served, tmp_path, timetable)
    results = _ask(Orders(timetable, orders.bots, QUESTION, served.url, "", orders.results, users=1), tmp_path)
    assert len(results.exchanges) == len(timetable.arrivals)
    last = results.exchanges[-20:]
    assert min(one.late_s for one in last) > median(one.took_s - one.late_s for one in last)
    assert all(one.took_s >= one.late_s for one in results.exchanges)


def test_an_end_that_comes_early_leaves_what_was_asked(served: Served, tmp_path: Path) -> None:
    """As Ctrl-C does: the process is gone at once, and its exchanges are there."""
    stop = threading.Event()
    with Asking(_orders(served, tmp_path, _timetable(60.0)), tmp_path) as asking:
        asking.wait(told=lambda passed_s: stop.set() if passed_s > 0.5 else None, stop=stop)
    results = asking.results()
    assert not results.is_whole
    assert results.exchanges
    assert not (tmp_path / "orders.json").exists()  # which may hold keys
    assert results.until_s < 30


def test_people_of_locusts_own_ask_too(served: Served, tmp_path: Path) -> None:
    """`locust -f loadtests/locustfile.py`, over both protocols, and without a failure; SIGTERM ends it well."""
    log = tmp_path / "log"
    command = [sys.executable, "-W", "ignore", "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"]
    command += ["--host", served.url, "--grpc", served.grpc, "--bots", str(_BOTS), "-u", "10", "-r", "10"]
    command += ["--reset-stats", "--csv", str(tmp_path / "stats")]
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=root, env=environ, stdout=file, stderr=file)
    try:
        found = tmp_path / "stats_stats.csv"
        eventually(lambda: {"ModelInfer", "infer"} <= set(re.findall(r"\w+", found.read_text())), within_s=30)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert not (tmp_path / "stats_failures.csv").read_text().splitlines()[1:], log.read_text()
