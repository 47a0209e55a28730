"""A local stack on an address that other machines reach: open by a word, or with those asked who come."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.waiting import eventually

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("arguments", "environ", "status"),
    [
        pytest.param(["--open-to-network"], {}, 200, id="open"),
        pytest.param([], {"ROUTER_ACCESS": "on"}, 401, id="asked"),
    ],
)
def test_the_router_of_a_stack_serves_there(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], status: int
) -> None:
    """Its router neither refuses to start nor forgets to ask; a stop is as orderly as ever."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "botshard.cli", "up", str(tmp_path / "stack"), "--host", "0.0.0.0"]
    stack = subprocess.Popen(
        [*command, "--port", str(port), *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def is_ready() -> bool:
            return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200

        assert eventually(is_ready, within_s=40)
        assert httpx.get(f"http://127.0.0.1:{port}/v2/models").status_code == status
    finally:
        stack.terminate()
        stack.wait(timeout=40)
    assert stack.returncode == 0
