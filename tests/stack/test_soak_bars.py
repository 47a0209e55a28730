"""What the soak's bars take for growth."""

from __future__ import annotations

import random

import pytest

from drills.soak import growth

_LOOKS = 90


def _noise(seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(0.0, 0.2) for _ in range(_LOOKS)]


@pytest.mark.parametrize("seed", range(5))
def test_a_size_that_is_found_at_the_beginning_is_no_growth(seed: int) -> None:
    """What rises in the first third and then moves up and down stays below any bar."""
    values = [40.0 + min(at, _LOOKS // 3) / 3 + noise for at, noise in enumerate(_noise(seed))]
    assert abs(growth(values)) < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_rise_is_growth(seed: int) -> None:
    """Two thirds of what is lost over the whole time are seen."""
    values = [40.0 + 3.0 * at / _LOOKS + noise for at, noise in enumerate(_noise(seed))]
    assert 1.5 < growth(values) < 2.5


def test_too_few_looks_say_nothing() -> None:
    """A line needs two points."""
    assert growth([]) == growth([1.0]) == 0.0
