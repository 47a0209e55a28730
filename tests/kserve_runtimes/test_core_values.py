"""The small decisions of the core, without a process."""

from __future__ import annotations

import numpy as np
import pytest

from botshard.sharding.errors import TerminalError, TransientError
from botshard.sharding.ids import BotId, VersionNumber
from kserve_runtimes.core.failures import Failure, next_failure
from kserve_runtimes.core.footprint import deep_bytes
from kserve_runtimes.core.rates import RequestRates

VERSION = VersionNumber(1)


def _waits(error: Exception, count: int) -> list[float]:
    failure: Failure | None = None
    waits = []
    for _ in range(count):
        failure = next_failure(failure, VERSION, error, now_s=100.0)
        waits.append(failure.retry_at_s - 100.0)
    return waits


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(TerminalError("no"), [1, 2, 4, 8, 16, 32, 60, 60], id="a broken artifact"),
        pytest.param(ValueError("no"), [1, 2, 4, 8, 16, 32, 60, 60], id="a strange file"),
        pytest.param(TransientError("away"), [1, 2, 2, 2], id="a store that is away"),
    ],
)
def test_waits_grow_to_a_bound(error: Exception, expected: list[float]) -> None:
    """A minute for what is broken, two seconds for what may be back at any moment."""
    assert expected == _waits(error, len(expected))
    assert _waits(error, 200)[-1] == expected[-1]


def test_another_version_starts_to_fail_anew() -> None:
    """A publish is a new chance."""
    failure = Failure(VERSION, "no", attempts=9, retry_at_s=1.0)
    assert next_failure(failure, VersionNumber(2), ValueError("no"), now_s=0.0).attempts == 1


def test_reasons_name_the_type_of_a_librarys_error_only() -> None:
    """Our own errors are sentences already."""
    assert next_failure(None, VERSION, TerminalError("it is gone"), now_s=0.0).reason == "it is gone"
    assert next_failure(None, VERSION, KeyError("w"), now_s=0.0).reason == "KeyError: 'w'"
    assert len(next_failure(None, VERSION, ValueError("x" * 9999), now_s=0.0).reason) <= 500


def test_a_steady_rate_is_found_and_forgotten() -> None:
    """Ten requests a second read as ten; without any, the bot leaves the table."""
    bot, rates, now_s = BotId("one"), RequestRates(now_s=0.0), 0.0
    for _ in range(100):
        for _ in range(50):
            rates.note(bot)
        now_s += 5.0
        found = rates.roll(now_s)
    assert found[bot] == pytest.approx(10.0, rel=0.02)
    assert rates.roll(now_s + 42.0)[bot] == pytest.approx(5.0, rel=0.02)
    assert rates.roll(now_s + 3600.0) == {}


def test_footprints_follow_what_closures_hold() -> None:
    """A step's vocabulary counts, and shared code does not."""
    table = {f"word-{index}": index for index in range(1000)}
    array = np.zeros(5000, dtype=np.float32)

    def apply(word: str) -> float:
        return float(array[table[word]])

    measured = deep_bytes(apply)
    assert measured > array.nbytes + 1000 * 50
    assert measured < array.nbytes + 1000 * 250
    assert deep_bytes((apply, apply)) < measured + 200
