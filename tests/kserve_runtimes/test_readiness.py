"""When a realtime replica is ready, and in which order it gets there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from botshard.notify import Notifier
from botshard.sharding.catalog import FamilyKey, ResourceHints, Version
from botshard.sharding.ids import BotId, Framework, GroupName, VersionNumber
from kserve_runtimes.core.bot import LoadedBot
from kserve_runtimes.core.expected_use import expected_use, settled_share
from kserve_runtimes.core.failures import Failure
from kserve_runtimes.core.follower import Follower
from kserve_runtimes.core.loading import BotLoader
from kserve_runtimes.core.metrics import Metrics
from kserve_runtimes.core.notices import LoadNotices
from kserve_runtimes.core.pool import Pool
from kserve_runtimes.core.resident import Resident
from kserve_runtimes.core.residents import Residents
from kserve_runtimes.serving.models import pool_ready
from tests.kserve_runtimes.bot_folders import linear_folder
from tests.kserve_runtimes.fleet import Fleet, key_of, pool_of
from tests.waiting import aeventually

KEY = FamilyKey(GroupName("realtime"), Framework("torch"))
A, B, C, D = (BotId(name) for name in "abcd")
POOL = pool_of("realtime", "torch")


def _version(*, rate_per_s: float | None = None) -> Version:
    return Version(VersionNumber(1), "0" * 64, 100, KEY, 0, ResourceHints(rate_per_s=rate_per_s))


def test_what_is_expected_is_measured_else_reported_else_hinted() -> None:
    """A report that nobody asks is worth more than what an author once thought."""
    owned = {A: _version(rate_per_s=9.0), B: _version(rate_per_s=9.0), C: _version(), D: _version()}
    assert expected_use(owned, {B: 0.0, C: 2.0}, {C: 3.0, D: 1.0}) == {A: 9.0, C: 3.0, D: 1.0}


@pytest.mark.parametrize(
    ("use", "settled", "share"),
    [
        ({A: 6.0, B: 3.0, C: 1.0}, [A], 6 / 11),
        ({A: 6.0, B: 3.0, C: 1.0}, [A, B, D], 10 / 11),
        ({A: 6.0, B: 3.0, C: 1.0}, [A, B, C, D], 1.0),
        ({}, [A], 1 / 4),
        ({A: 1.0}, [], 0.0),
    ],
    ids=["most-used", "unknown-counts-as-least", "all", "nothing-known", "none"],
)
def test_a_share_weighs_bots_by_their_use(use: Mapping[BotId, float], settled: list[BotId], share: float) -> None:
    """Of a bot that nobody knows anything of, as much is expected as of the least used one; failed bots are settled."""
    entries = [Resident(bot_id, _version()) for bot_id in (A, B, C, D)]
    for entry in entries:
        if entry.id in settled:
            entry.failure = Failure(VersionNumber(1), "broken", 1, 0.0)
    assert settled_share(entries, use) == pytest.approx(share)


def test_a_pool_without_bots_lacks_nothing() -> None:
    """Nobody is to be waited for."""
    assert settled_share([], {}) == 1.0


class _Gated:
    """Bots of a store without their models; each waits until it is let in."""

    def __init__(self) -> None:
        self.began: list[BotId] = []
        self.open: set[BotId] = set()
        self.news = threading.Condition()

    def __call__(self, bot_id: BotId, version: Version, /) -> LoadedBot:
        """Fails once it is let in: a load's end is all that readiness asks for."""
        with self.news:
            self.began.append(bot_id)
            assert self.news.wait_for(lambda: bot_id in self.open, 10)
        raise ValueError(f"{bot_id} is broken")

    def let_in(self, *bots: BotId) -> None:
        """These may end."""
        with self.news:
            self.open |= set(bots)
            self.news.notify_all()


@asynccontextmanager
async def _pool(
    fleet: Fleet, load: _Gated | BotLoader, reported: Mapping[BotId, float], share: float
) -> AsyncIterator[Pool]:
    metrics = Metrics(CollectorRegistry())
    follower = Follower(fleet.store, pool=POOL, metrics=metrics)
    with ThreadPoolExecutor(1) as executor:
        pool = Pool(
            name=POOL,
            follower=follower,
            residents=Residents(load, executor=executor, loaders=1, metrics=metrics),
            notices=LoadNotices(Notifier({})),
            metrics=metrics,
            request_timeout_s=None,
        )
        pool.ready_share = share
        pool.note_listening()
        following = asyncio.create_task(pool.follow(0.05, expected=lambda: dict(reported)))
        try:
            yield pool
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            follower.close()
            if isinstance(load, _Gated):
                load.let_in(A, B, C, D)


async def _until(check: Callable[[], bool]) -> None:
    async def checked() -> bool:
        return check()

    await aeventually(checked)


def _publish(fleet: Fleet, folder: Path) -> None:
    fleet.publish(*(linear_folder(folder, bot_id) for bot_id in (A, B, C, D)))
    fleet.publish_table({key_of("realtime", "torch"): [POOL]})


async def test_the_most_used_bots_come_first_at_a_first_start(fleet: Fleet, tmp_path: Path) -> None:
    """By what replicas that are gone have reported, also where another table comes before all bots are loaded."""
    _publish(fleet, tmp_path)
    shelf = _Gated()
    async with _pool(fleet, shelf, {C: 5.0, A: 3.0, D: 1.0}, 1.0) as pool:
        await _until(lambda: shelf.began == [C])
        fleet.publish_table({key_of("realtime", "torch"): [POOL]})
        await _until(lambda: pool.epoch == 2)
        shelf.let_in(A, B, C, D)
        await _until(lambda: pool.is_ready)
    assert shelf.began == [C, A, D, B]


async def test_a_pool_is_ready_with_its_share_and_warm_with_all(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Traffic may come when most of it can be answered; a shard moves here only when every bot is here."""
    caplog.set_level("INFO")
    _publish(fleet, tmp_path)
    shelf = _Gated()
    async with _pool(fleet, shelf, {C: 6.0, A: 2.0, D: 1.0}, 0.8) as pool:
        await _until(lambda: shelf.began == [C])
        shelf.let_in(C)
        await _until(lambda: shelf.began == [C, A] and pool.settled_share > 0)
        told = orjson.loads(pool_ready(pool).body)
        assert (told["ready"], told["settledShare"], told["readyShare"]) == (False, 0.6, 0.8)
        assert "3 of 4 bots are not loaded yet" in told["error"]
        shelf.let_in(A)
        await _until(lambda: pool.is_ready)
        assert pool.warmed_epoch == 0
        told = orjson.loads(pool_ready(pool).body)
        assert (told["ready"], told["warmedEpoch"], told["settledShare"]) == (True, 0, 0.8)
        shelf.let_in(B, D)
        await _until(lambda: pool.warmed_epoch == 1)
    told_of = {record.message: record.__dict__ for record in caplog.records}
    assert "pool ready" in told_of
    assert "every bot is loaded or failed" in told_of


async def test_a_share_of_nothing_is_ready_at_once(fleet: Fleet, tmp_path: Path) -> None:
    """With 0, a replica takes requests as soon as it knows its bots, and loads those that are asked for first."""
    _publish(fleet, tmp_path)
    async with _pool(fleet, _Gated(), {}, 0.0) as pool:
        await _until(lambda: pool.is_ready)
        assert pool.warmed_epoch == 0
