"""Fixtures of the store's tests: a home of either kind and a store in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.store.base import ObjectStore
from tests.store.homes import FilesHome, Home, MinioHome

_KINDS = [pytest.param("files", id="files"), pytest.param("minio", id="minio", marks=pytest.mark.minio)]


@pytest.fixture(params=_KINDS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """An empty home of either kind."""
    if request.param == "files":
        return FilesHome(tmp_path / "store")
    return MinioHome(request.getfixturevalue("minio"))


@pytest.fixture(params=_KINDS)
def own_home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """An empty home of either kind that the test may take away."""
    if request.param == "files":
        return FilesHome(tmp_path / "store")
    return MinioHome(request.getfixturevalue("own_minio"))


@pytest.fixture
def store(home: Home) -> Iterator[ObjectStore]:
    """A store in `home`."""
    opened = home.open()
    yield opened
    opened.close()
