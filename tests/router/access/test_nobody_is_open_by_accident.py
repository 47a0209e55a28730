"""What the settings say of access, and that a router on a network that asks nobody is started by a word only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from botshard.sharding.errors import InvalidDocumentError
from router.access.claims import Claims
from router.access.openness import refuse_open
from router.access.settings import AccessSettings, TlsSettings, TokenSettings
from router.settings import Settings
from tests.router.fleet import Fleet
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
STORE = {"ROUTER_STORE_URL": "file:///x"}


def _start(*arguments: str, fds: tuple[int, ...] = (), **environ: str) -> subprocess.Popen[str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ROUTER_PORT": "0", **environ}
    return subprocess.Popen(
        [sys.executable, "-m", "router", *arguments],
        env=variables,
        cwd=ROOT,
        pass_fds=fds,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_router_on_a_network_is_refused(fleet: Fleet, host: str) -> None:
    """Exit code 2, one sentence that names the way out, no traceback."""
    process = _start(ROUTER_STORE_URL=fleet.url, ROUTER_HOST=host)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "ROUTER_OPEN=true" in log
    assert "ROUTER_ACCESS" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        pytest.param((), {"ROUTER_OPEN": "true"}, id="variable"),
        pytest.param(("--open",), {}, id="option"),
        pytest.param((), {"ROUTER_ACCESS": "on"}, id="access control"),
    ],
)
def test_by_a_word_it_serves_there(fleet: Fleet, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    """Also on a socket that it was given, whose address nobody has told it."""
    with socket.create_server(("0.0.0.0", 0)) as listening:
        port, fd = listening.getsockname()[1], listening.fileno()
        process = _start(*arguments, fds=(fd,), ROUTER_STORE_URL=fleet.url, ROUTER_LISTEN_FD=str(fd), **environ)
        try:

            def is_live() -> bool:
                return httpx.get(f"http://127.0.0.1:{port}/v2/health/live").status_code == 200

            assert eventually(is_live, within_s=30)
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_an_inherited_socket_is_looked_at_too(fleet: Fleet) -> None:
    """Not what a host setting says, but where the socket is bound."""
    with socket.create_server(("0.0.0.0", 0)) as listening:
        fd = listening.fileno()
        process = _start(fds=(fd,), ROUTER_STORE_URL=fleet.url, ROUTER_LISTEN_FD=str(fd))
        _, log = process.communicate(timeout=30)
    assert (process.returncode, "ROUTER_OPEN=true" in log) == (2, True)


def test_loopback_is_open_as_ever(tmp_path: Path) -> None:
    """Both kinds of address, and sockets that have none."""
    for family, address in ((socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET6, ("::1", 0))):
        with socket.socket(family) as listening:
            listening.bind(address)
            refuse_open(listening, AccessSettings())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        refuse_open(listening, AccessSettings())


def test_wrong_files_are_said_before_anything_listens(fleet: Fleet, tmp_path: Path) -> None:
    """Exit code 2, and which setting."""
    process = _start(
        ROUTER_STORE_URL=fleet.url, ROUTER_TLS_CERT=str(tmp_path / "none"), ROUTER_TLS_KEY=str(tmp_path / "none")
    )
    _, log = process.communicate(timeout=30)
    assert (process.returncode, "ROUTER_TLS_CERT" in log, "Traceback" in log) == (2, True, False)


def test_access_is_off_unless_it_is_said() -> None:
    """Defaults, pinned; a key set turns it on."""
    settings = Settings.read(STORE)
    assert (settings.access, settings.tls) == (AccessSettings(), TlsSettings())
    assert settings.access == AccessSettings(is_on=False, may_be_open=False, metrics_open=False, tokens=None)
    said = {"ROUTER_JWKS": "https://issuer.example/keys", "ROUTER_JWT_ISSUER": "i", "ROUTER_JWT_AUDIENCE": "a, b"}
    found = Settings.read({**STORE, **said}).access
    claims = Claims("i", ("a", "b"), "tenant", "roles", 30.0)
    expected = TokenSettings(said["ROUTER_JWKS"], claims, ("RS256", "ES256", "EdDSA"), 300.0)
    assert (found.is_on, found.tokens) == (True, expected)


def test_every_setting_of_access_arrives() -> None:
    """What is set is what is used."""
    settings = Settings.read(
        {
            **STORE,
            "ROUTER_ACCESS": "on",
            "ROUTER_OPEN": "true",
            "ROUTER_METRICS_OPEN": "true",
            "ROUTER_JWKS": "file:///keys.json",
            "ROUTER_JWKS_INTERVAL_S": "60",
            "ROUTER_JWT_ISSUER": "i",
            "ROUTER_JWT_AUDIENCE": "a",
            "ROUTER_JWT_ALGORITHMS": "PS256",
            "ROUTER_JWT_TENANT_CLAIM": "org.id",
            "ROUTER_JWT_ROLES_CLAIM": "scope",
            "ROUTER_JWT_LEEWAY_S": "5",
            "ROUTER_TLS_CERT": "/c",
            "ROUTER_TLS_KEY": "/k",
            "ROUTER_TLS_CLIENT_CA": "/a",
            "ROUTER_UPSTREAM_CA": "/ua",
            "ROUTER_UPSTREAM_CERT": "/uc",
            "ROUTER_UPSTREAM_KEY": "/uk",
        }
    )
    tokens = TokenSettings("file:///keys.json", Claims("i", ("a",), "org.id", "scope", 5.0), ("PS256",), 60.0)
    assert settings.access == AccessSettings(is_on=True, may_be_open=True, metrics_open=True, tokens=tokens)
    assert settings.tls == TlsSettings("/c", "/k", "/a", "/ua", "/uc", "/uk")
    assert settings.unknown == ()


@pytest.mark.parametrize(
    ("environ", "fields"),
    [
        ({"ROUTER_ACCESS": "yes"}, ["ROUTER_ACCESS"]),
        ({"ROUTER_JWKS": "https://i/k"}, ["ROUTER_JWT_ISSUER", "ROUTER_JWT_AUDIENCE"]),
        ({"ROUTER_TLS_CERT": "/c"}, ["ROUTER_TLS_KEY"]),
        ({"ROUTER_UPSTREAM_KEY": "/c"}, ["ROUTER_UPSTREAM_CERT"]),
        ({"ROUTER_TLS_CLIENT_CA": "/c"}, ["ROUTER_TLS_CERT"]),
    ],
    ids=str,
)
def test_half_of_a_setting_is_refused(environ: dict[str, str], fields: list[str]) -> None:
    """What belongs together is set together."""
    with pytest.raises(InvalidDocumentError) as caught:
        Settings.read({**STORE, **environ})
    assert [problem.field for problem in caught.value.problems] == fields


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROUTER_JWKS", "http://issuer.example/keys"),
        ("ROUTER_JWKS", "https://user:hush@issuer.example/keys"),
        ("ROUTER_JWKS", "keys.json"),
        ("ROUTER_JWT_ALGORITHMS", "HS256"),
        ("ROUTER_JWT_ALGORITHMS", "RS256,none"),
        ("ROUTER_JWT_ALGORITHMS", ","),
        ("ROUTER_ACCESS", "off"),
    ],
    ids=str,
)
def test_what_would_not_be_safe_is_refused(name: str, value: str) -> None:
    """Keys over plain HTTP, shared secrets, no signature, tokens that nobody would look at; nothing secret shows."""
    said = {"ROUTER_JWKS": "https://i/k", "ROUTER_JWT_ISSUER": "i", "ROUTER_JWT_AUDIENCE": "a"}
    with pytest.raises(InvalidDocumentError) as caught:
        Settings.read({**STORE, **said, name: value})
    assert [problem.field for problem in caught.value.problems] == [name]
    assert "hush" not in str(caught.value)
