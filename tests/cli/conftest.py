"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.store.base import ObjectStore
from botshard.store.urls import open_store
from tests.cli.bot_server import BotServer
from tests.cli.fleets import make_fleet
from tests.cli.running import Cli
from tests.store.homes import FilesHome, Home, MinioHome

_KINDS = [pytest.param("files", id="files"), pytest.param("minio", id="minio", marks=pytest.mark.minio)]


@pytest.fixture(params=_KINDS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """An empty store of either kind."""
    if request.param == "files":
        return FilesHome(tmp_path / "there" / "store")
    return MinioHome(request.getfixturevalue("minio"))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`botshard` in an empty folder, with nothing that chooses a store."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Cli(folder)


@pytest.fixture
def store(cli: Cli) -> Iterator[ObjectStore]:
    """The store that `cli` uses where nothing else is said."""
    opened = open_store((cli.folder / ".botshard" / "store").as_uri(), {})
    yield opened
    opened.close()


@pytest.fixture
def fleet(store: ObjectStore, tmp_path: Path) -> ObjectStore:
    """The same store with a small fleet in it, whose pools live elsewhere."""
    make_fleet(store, tmp_path / "folders")
    return store


@pytest.fixture
def server() -> Iterator[BotServer]:
    """A server of two bots behind the Open Inference Protocol."""
    with BotServer() as running:
        yield running
