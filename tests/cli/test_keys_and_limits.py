"""`botshard key` and `botshard limits`, as an operator uses them."""

from __future__ import annotations

import pytest

from botshard.cli.context import KEY_VARIABLE, api_key
from botshard.cli.errors import WrongUsageError
from botshard.store.access_keys import digest_of_key, read_keys
from botshard.store.base import ObjectStore
from tests.cli.bot_server import BotServer
from tests.cli.running import Cli


def test_a_key_is_made_listed_and_revoked(cli: Cli, store: ObjectStore) -> None:
    """Shown once and alone on stdout; stored by its digest; gone once it is revoked."""
    made = cli("key", "create", "--tenant", "acme", "--expires-in", "90d", "--note", "their web shop")
    shown = made.stdout.strip()
    assert made.exit_code == 0
    assert shown.startswith("bsk_")
    key_id = shown.split("_")[1]
    assert key_id in made.stderr
    assert shown not in made.stderr
    held = read_keys(store).keys[key_id]
    assert (held.sha256, held.tenant, held.note) == (digest_of_key(shown), "acme", "their web shop")
    assert held.expires_at_s is not None
    assert held.expires_at_s - held.created_at_s == 90 * 86_400
    admin = cli.document("key", "create", "--tenant", "*", "--role", "infer", "--role", "admin")
    assert (admin["tenant"], admin["roles"], admin["expiresAt"]) == ("*", ["admin", "infer"], None)
    assert [one["id"] for one in cli.document("key", "list", "--tenant", "acme")["keys"]] == [key_id]
    table = cli("key", "list").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["ID", admin["id"], key_id]
    assert shown not in table
    assert cli("key", "revoke", key_id, admin["key"]).exit_code == 0
    assert read_keys(store).keys == {}
    assert read_keys(store).revision == 3
    assert "no keys" in cli("key", "list").stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        pytest.param(["create"], 2, "--tenant", id="nobody"),
        pytest.param(["create", "--tenant", "a/b"], 2, "tenant", id="no tenant"),
        pytest.param(["create", "--tenant", "a", "--role", "root"], 2, "infer or admin", id="no role"),
        pytest.param(["create", "--tenant", "a", "--role", "admin"], 1, "'*'", id="an administrator of one tenant"),
        pytest.param(["create", "--tenant", "a", "--expires-in", "soon"], 2, "12h or 90d", id="no time"),
        pytest.param(["create", "--tenant", "a", "--expires-in", "0d"], 2, "12h or 90d", id="at once"),
        pytest.param(["create", "--tenant", "a", "--note", "x" * 201], 1, "note", id="a long note"),
        pytest.param(["revoke"], 2, "ids", id="nothing to revoke"),
        pytest.param(["revoke", "aaaaaaaaaaaa"], 1, "no key 'aaaaaaaaaaaa'", id="unknown"),
    ],
)
def test_mistakes_with_keys_store_nothing(
    arguments: list[str], exit_code: int, told: str, cli: Cli, store: ObjectStore
) -> None:
    """One clear message, and no key more or less."""
    good = cli.document("key", "create", "--tenant", "acme")["id"]
    ended = cli("key", *arguments)
    assert (ended.exit_code, told in ended.stderr) == (exit_code, True), ended.stderr
    assert list(read_keys(store).keys) == [good]


def test_limits_are_set_shown_and_taken_away(cli: Cli) -> None:
    """A limit is replaced whole; what shows is what routers read."""
    assert (
        cli("limits", "set", "--each", "tenant", "--rate", "50", "--burst", "100", "--concurrency", "16").exit_code == 0
    )
    cli("limits", "set", "--each", "bot", "--concurrency", "8")
    cli("limits", "set", "--tenant", "acme", "--rate", "0.5")
    cli("limits", "set", "--bot", "acme-banking", "--concurrency", "32", "--shared", "64")
    shown = cli.document("limits", "set", "--routers", "3")
    assert shown["tenant"] == {"ratePerSecond": 50.0, "burst": 100, "concurrency": 16}
    assert (shown["bot"], shown["tenants"]) == ({"concurrency": 8}, {"acme": {"ratePerSecond": 0.5}})
    assert (shown["bots"], shown["sharedConcurrency"]) == ({"acme-banking": {"concurrency": 32}}, 64)
    assert (shown["routers"], shown["revision"]) == (3, 5)
    assert cli.document("limits", "show") == shown
    rows = [line.split() for line in cli("limits", "show").stdout.splitlines()]
    assert ["tenant", "acme", "0.5", "-", "-"] in rows
    cli("limits", "set", "--tenant", "acme", "--concurrency", "1")
    cli("limits", "set", "--shared", "0")
    after = cli.document("limits", "unset", "--bot", "acme-banking")
    assert (after["tenants"], after["bots"]) == ({"acme": {"concurrency": 1}}, {})
    assert after["sharedConcurrency"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["set"],
        ["set", "--tenant", "a"],
        ["set", "--tenant", "a", "--bot", "b", "--rate", "1"],
        ["set", "--tenant", "a/b", "--rate", "1"],
        ["set", "--each", "bot", "--burst", "1"],
        ["unset", "--tenant", "a", "--rate", "1"],
        ["unset", "--shared", "1"],
    ],
    ids=" ".join,
)
def test_limits_that_make_no_sense_are_wrong_usage(arguments: list[str], cli: Cli) -> None:
    """Exit code 2, and nothing is stored."""
    assert cli("limits", *arguments).exit_code == 2
    cli("limits", "set", "--each", "bot", "--concurrency", "8")
    assert cli.document("limits", "show")["revision"] == 1


def test_a_rate_out_of_bounds_is_refused_as_routers_would(cli: Cli) -> None:
    """With the field's name."""
    ended = cli("limits", "set", "--tenant", "a", "--rate", "1e9")
    assert (ended.exit_code, "tenants.a.ratePerSecond" in ended.stderr) == (1, True)


def test_predict_shows_the_key_of_the_environment(cli: Cli, server: BotServer) -> None:
    """In a header and nowhere else; what cannot stand in a header is refused without being shown."""
    asker = Cli(cli.folder, {"BOTSHARD_URL": server.url, KEY_VARIABLE: "bsk_abc_def"})
    assert asker("predict", "echo", "hello").exit_code == 0
    assert set(server.credentials) == {"Bearer bsk_abc_def"}
    with pytest.raises(WrongUsageError) as caught:
        api_key({KEY_VARIABLE: "hush hush"})
    assert "hush" not in str(caught.value)
    assert not api_key({})
