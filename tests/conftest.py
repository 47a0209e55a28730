"""Fixtures for all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import MINIO_HINT, MinioServer, is_required, minio_binary

# Two busy cores make single examples slow; what is slow for real, the time limit of the test tells.
settings.register_profile("botshard", deadline=None)
settings.load_profile("botshard")


@pytest.fixture(scope="session")
def minio() -> Iterator[MinioServer]:
    """One MinIO server for the whole run; use a bucket or prefix of your own. To kill one, take `own_minio`."""
    with _minio_or_skip() as server:
        yield server


@pytest.fixture
def own_minio() -> Iterator[MinioServer]:
    """A MinIO server for one test, to be killed and restarted."""
    with _minio_or_skip() as server:
        yield server


@pytest.fixture(scope="session")
def onnx_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of `tests.bots.onnx_models`, made in a process of its own: the tests' stays without."""
    folder = tmp_path_factory.mktemp("onnx-models")
    command = [sys.executable, "-W", "ignore", "-m", "tests.bots.onnx_models", str(folder)]
    root = Path(__file__).parents[1]
    subprocess.run(command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=100)
    return folder


def _minio_or_skip() -> MinioServer:
    binary = minio_binary()
    if binary is None:
        if is_required("minio"):
            pytest.fail(f"BOTSHARD_REQUIRE_SERVERS names minio, but {MINIO_HINT}", pytrace=False)
        pytest.skip(MINIO_HINT)
    return MinioServer(binary)
