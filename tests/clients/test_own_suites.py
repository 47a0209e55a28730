"""Each client's own tests pass, its code is tidy, and all of us read the same documents alike."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from botshard.sharding.codec import decode_table
from botshard.sharding.errors import InvalidDocumentError
from tests.clients.toolchains import CLIENTS, Client

DOCUMENTS = json.loads((Path(__file__).parent / "documents.json").read_text())


def changed(change: dict[str, str]) -> bytes:
    """The table of the documents after a change."""
    table: str = DOCUMENTS["table"]
    assert change["replace"] in table
    return table.replace(change["replace"], change["with"], 1).encode()


def test_the_clients_own_tests_pass(client: Client) -> None:
    """As whoever changes a client runs them: golden vectors, refused documents, examples."""
    done = client.run(*client.suite)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_go_client_is_tidy(go: Client) -> None:
    """Formatted, and nothing for `go vet` to say."""
    formatted, vetted = go.run("gofmt", "-l", "."), go.run("go", "vet", "./...")
    assert (formatted.returncode, formatted.stdout, formatted.stderr) == (0, "", "")
    assert vetted.returncode == 0, vetted.stderr


@pytest.mark.parametrize("change", DOCUMENTS["refused"], ids=lambda change: change["claim"])
def test_what_clients_refuse_is_refused_here(change: dict[str, str]) -> None:
    """The same documents, with the same field."""
    with pytest.raises(InvalidDocumentError) as refused:
        decode_table(changed(change))
    fields = [problem.field for problem in refused.value.problems]
    # A pool that two families name is a problem of the field `pools` here, and of the pool's name there.
    assert any(change["field"] == field or (field and change["field"].startswith(f"{field}[")) for field in fields)


@pytest.mark.parametrize("change", DOCUMENTS["accepted"], ids=lambda change: change["claim"])
def test_what_clients_accept_is_accepted_here(change: dict[str, str]) -> None:
    """Every other way to write a table."""
    assert decode_table(changed(change)).epoch >= 1


def test_the_lock_files_name_no_place() -> None:
    """Versions and digests, and no address that packages come from."""
    packages = json.loads((CLIENTS / "js" / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all(package.get("integrity", "").startswith("sha512-") for name, package in packages.items() if name)
    manifest = json.loads((CLIENTS / "js" / "package.json").read_text())
    asked = {**manifest["dependencies"], **manifest["devDependencies"]}
    assert [name for name, version in asked.items() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
