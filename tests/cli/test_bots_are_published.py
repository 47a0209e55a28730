"""From a template to versions in the catalog and back, by commands alone, on both kinds of store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Cli
from tests.store.homes import Home


def _change(folder: Path) -> None:
    """A change that makes a new version."""
    path = folder / "bot.yaml"
    path.write_text(path.read_text().replace("min: 0.5", "min: 0.6"))


@pytest.fixture
def there(cli: Cli, home: Home) -> Cli:
    """`botshard` with the store in its environment."""
    return Cli(cli.folder, {**home.environ, "BOTSHARD_STORE": home.url})


def test_the_life_of_a_bot(there: Cli) -> None:
    """Made, published, changed, rolled back, followed again, retired, brought back: each step shows in the catalog."""
    made = there.document("init", "my-bot", "--tenant", "acme")
    assert made["bot"] == "my-bot"
    assert there.document("publish", "my-bot")["folders"][0]["version"] == 1
    _change(there.folder / "my-bot")
    assert there.document("publish", "my-bot")["created"] == 1
    again = there.document("publish", "my-bot")
    assert (again["unchanged"], again["folders"][0]["version"]) == (1, 2)

    back = there.document("rollback", "my-bot")
    assert back == {"bot": "my-bot", "rollout": "1", "serving": 1, "wasServing": 2, "latest": 2}
    line = there.document("bots")["bots"][0]
    assert (line["version"], line["latest"], line["pinned"]) == (1, 2, True)
    assert there.document("rollback", "my-bot", "--latest")["serving"] == 2
    assert there.document("rollback", "my-bot", "--to", "1")["serving"] == 1

    assert there.document("retire", "my-bot") == {"bots": [{"bot": "my-bot", "status": "retired"}]}
    assert there.document("retire", "my-bot")["bots"][0]["status"] == "unchanged"
    shown = there.document("show", "my-bot")
    assert (shown["state"], shown["serving"], len(shown["versions"])) == ("retired", None, 2)
    assert there.document("publish", "my-bot")["restored"] == 1
    assert there.document("bots", "--state", "absent")["total"] == 1


def test_every_problem_is_told_by_file_and_field(cli: Cli) -> None:
    """Nothing is published beside a bad folder; each of its problems is a line of its own; the exit code says so."""
    for name in ("good", "bad"):
        cli("init", name)
    path = cli.folder / "bad" / "bot.yaml"
    path.write_text(path.read_text().replace("tenant: acme", "tenant: a/b").replace("min: 0.5", "min: high"))
    ended = cli("publish", "good", "bad")
    assert ended.exit_code == 1
    problems = [line for line in ended.stderr.splitlines() if line.startswith("bad/bot.yaml: ")]
    assert [line.split(": ")[1] for line in problems] == ["tenant", "postprocess[2].min"]
    assert "2 refused (1 only because of the others)" in ended.stderr
    assert cli.document("bots")["total"] == 0


def test_the_good_ones_can_be_published_although_some_are_bad(cli: Cli) -> None:
    """`--keep-going` publishes what is sound and still ends with 1."""
    cli("init", "good")
    done = cli.document("publish", "good", "missing", "--keep-going", exit_code=1)
    assert [one["status"] for one in done["folders"]] == ["created", "refused"]
    assert done["folders"][1]["problems"]
    assert [one["bot"] for one in cli.document("bots")["bots"]] == ["good"]


def test_a_dry_run_stores_nothing(cli: Cli) -> None:
    """It tells what would become of each folder."""
    cli("init", "my-bot")
    told = cli.document("publish", "my-bot", "--dry-run")
    assert (told["dryRun"], told["created"], told["folders"][0]["version"]) == (True, 1, 1)
    assert cli.document("bots")["total"] == 0


def test_more_folders_than_a_screen_are_counted_not_listed(cli: Cli) -> None:
    """Of many folders the numbers are told."""
    names = [f"bot-{number:02d}" for number in range(21)]
    for name in names[:1]:
        cli("init", name)
    for name in names[1:]:
        folder = cli.folder / name
        folder.mkdir()
        for file in (cli.folder / names[0]).iterdir():
            (folder / file.name).write_bytes(file.read_bytes().replace(names[0].encode(), name.encode()))
    ended = cli("publish", *names)
    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout == ""
    assert "21 created in " in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        pytest.param(["rollback", "my-bot"], 1, "there is none to go back to", id="no-earlier"),
        pytest.param(["rollback", "my-bot", "--to", "9"], 1, "one of its versions 1, found 9", id="no-such-version"),
        pytest.param(["rollback", "my-bot", "--to", "0"], 2, "--to", id="not-a-version"),
        pytest.param(["rollback", "my-bot", "--to", "1", "--latest"], 2, "exclude each other", id="both"),
        pytest.param(["rollback", "my-bott"], 1, "did you mean my-bot?", id="near-name"),
        pytest.param(["show", "my-bott"], 1, "did you mean my-bot?", id="show-near-name"),
        pytest.param(["show", "a/b"], 2, "letters, digits", id="no-id"),
        pytest.param(["show", "a\udcff"], 2, "letters, digits", id="no-text"),
        pytest.param(["retire", "my-bot", "nobody"], 1, "nothing was retired", id="retire-unknown"),
        pytest.param(["publish"], 2, "FOLDER", id="no-folder"),
        pytest.param(["init", "my-bot"], 1, "nothing is overwritten", id="there-already"),
        pytest.param(["init", "other", "--tenant", "a/b"], 1, "tenant", id="wrong-tenant"),
        pytest.param(["init", "/proc/nothing"], 1, "/proc/nothing", id="cannot-be-made"),
        pytest.param(["bots", "--state", "happy"], 2, "'resident'", id="no-such-state"),
    ],
)
def test_mistakes_end_with_one_clear_message(arguments: list[str], exit_code: int, told: str, cli: Cli) -> None:
    """Data stays off stdout, the reason is on stderr, and nobody sees a traceback."""
    cli("init", "my-bot")
    cli("publish", "my-bot")
    ended = cli(*arguments)
    assert ended.exit_code == exit_code
    assert ended.stdout == ""
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not cli.document("show", "my-bot")["retired"]
