"""The attack on the router's data path, a short one: right requests get their own answers whatever comes between them."""

from __future__ import annotations

import pytest

from fuzz.router import attack


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_connection_is_out_of_step(seed: int) -> None:
    """Two thousand requests, right and mutilated, both ways through the router: every right one gets its own answer."""
    counts, problems = await attack(2_000, seed)
    assert problems == []
    assert counts["right"] > 1_500
    assert counts["mutilated"] > 20
    assert counts["of them by the short way"] > 200
