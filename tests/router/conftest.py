"""Fixtures of the router's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.router.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """An empty store to publish into."""
    return Fleet(tmp_path / "store")
