"""The clients, each made ready once."""

from __future__ import annotations

import pytest

from tests.clients.toolchains import Client, go_client, js_client


@pytest.fixture(scope="session", params=["go", "js"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Both clients, one after the other."""
    return go_client(tmp_path_factory.mktemp("go")) if request.param == "go" else js_client()


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """The client in Go."""
    return go_client(tmp_path_factory.mktemp("go"))
