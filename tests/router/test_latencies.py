"""What is known of how long answers take."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.latencies import Latencies, Sketch


@given(st.lists(st.floats(0.001, 10.0), min_size=32, max_size=400))
def test_a_quantile_is_off_by_a_quarter_at_most(times_s: list[float]) -> None:
    """Never shorter than the true one of what came when it was computed last, and hardly longer."""
    sketch = Sketch(0.95, least=32)
    known: list[float] = []
    for took_s in times_s:
        known.append(took_s)
        before = sketch.quantile_s
        sketch.learn(took_s)
        if sketch.quantile_s != before:
            true_s = sorted(known)[-(-len(known) * 95 // 100) - 1]
            assert sketch.quantile_s is not None
            assert true_s <= sketch.quantile_s <= true_s * 1.25 + 1e-9


def test_a_sketch_forgets() -> None:
    """A bot that has become slow is known to be slow a few hundred answers later."""
    sketch = Sketch(0.95, least=32)
    for _ in range(10_000):
        sketch.learn(0.002)
    for _ in range(300):
        sketch.learn(1.0)
    assert sketch.quantile_s == pytest.approx(1.1, rel=0.2)


def test_answers_longer_than_anything_that_is_told_apart_say_nothing() -> None:
    """Nobody is asked twice for being as slow as it gets."""
    sketch = Sketch(0.95, least=1)
    for _ in range(64):
        sketch.learn(100.0)
    assert sketch.quantile_s is None


def test_a_bot_has_its_own_quantile_once_it_has_answered_enough() -> None:
    """Until then it has its family's, and that too takes some answers."""
    latencies = Latencies(0.95)
    for _ in range(127):
        latencies.learn(1, "family", 0.01)
    assert latencies.quantile_s(1, "family") == pytest.approx(0.01, rel=0.25)
    assert latencies.quantile_s(2, "family") is None
    latencies.learn(1, "family", 0.01)
    assert latencies.quantile_s(2, "family") == pytest.approx(0.01, rel=0.25)
    for _ in range(32):
        latencies.learn(2, "family", 1.0)
    assert latencies.quantile_s(2, "family") == pytest.approx(1.0, rel=0.25)
    assert latencies.quantile_s(2, "another") == pytest.approx(1.0, rel=0.25)
    assert latencies.quantile_s(3, "another") is None


def test_the_bots_that_answered_last_are_kept() -> None:
    """However many there are."""
    latencies = Latencies(0.95, bound=100)
    chance = random.Random(1)
    for _ in range(32):
        latencies.learn(0, "family", 0.001)
    for _ in range(5000):
        latencies.learn(chance.randrange(1, 10_000), f"family-{chance.randrange(1000)}", 1.0)
        latencies.learn(0, "family", 0.001)
    assert len(latencies) == 100
    own_s = latencies.quantile_s(0, "another")
    assert own_s is not None
    assert own_s < 0.002
