"""A store in each of its homes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from botshard.store.base import ObjectStore
from botshard.store.urls import open_store
from tests.servers import MinioServer


@pytest.fixture(params=["file", pytest.param("minio", marks=pytest.mark.minio)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """An empty store: a folder, then MinIO."""
    if request.param == "file":
        opened = open_store(f"file://{tmp_path / 'store'}", {})
    else:
        server: MinioServer = request.getfixturevalue("minio")
        opened = open_store(server.url(f"bots-{secrets.token_hex(6)}", ""), server.environ)
    try:
        yield opened
    finally:
        opened.close()
