"""`botshard predict` against a real HTTP server that speaks the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.bot_server import BotServer
from tests.cli.running import Cli
from tests.servers import free_port


@pytest.fixture
def asker(cli: Cli, server: BotServer) -> Cli:
    """`botshard` with the server's URL in its environment."""
    return Cli(cli.folder, {"BOTSHARD_URL": server.url})


def test_a_text_gets_label_score_version_pool_and_time(asker: Cli) -> None:
    """The table has a row a text."""
    ended = asker("predict", "echo", "hello", "good bye")
    assert ended.exit_code == 0, ended.stderr
    titles, first, second = ended.stdout.splitlines()
    assert titles.split() == ["TEXT", "LABEL", "SCORE", "VERSION", "POOL", "TIME"]
    assert first.split()[:5] == ["hello", "<hello>", "0.5000", "3", "pool-1"]
    assert second.startswith("good bye")


def test_predictions_are_one_document(asker: Cli, server: BotServer) -> None:
    """`--json` holds every output, and where each answer came from."""
    told = asker.document("predict", "echo", "hello")
    assert (told["bot"], told["url"]) == ("echo", server.url)
    (one,) = told["predictions"]
    assert one.pop("tookS") > 0
    assert one == {
        "text": "hello",
        "label": "<hello>",
        "score": 0.5,
        "outputs": {"label": "<hello>", "score": 0.5},
        "version": "3",
        "pool": "pool-1",
        "epoch": "7",
        "status": 200,
        "error": None,
    }


@pytest.mark.parametrize(("batch", "batches"), [("1", [1, 1, 1, 1, 1]), ("3", [3, 2])], ids=["one", "three"])
def test_lines_of_stdin_are_asked_in_batches(batch: str, batches: list[int], asker: Cli, server: BotServer) -> None:
    """`-` reads a text a line, empty ones are passed over, and a request has as many rows as it may."""
    told = asker.document("predict", "echo", "first", "-", "--batch", batch, stdin="b\n\nc d\r\ne\nf")
    assert [one["label"] for one in told["predictions"]] == ["<first>", "<b>", "<c d>", "<e>", "<f>"]
    assert server.batches == batches


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        pytest.param("[[1, 2], [3, 4]]", "[[10], [20]]", [[13.0], [27.0]], id="batch"),
        pytest.param("[1, 2]", "[10]", [[13.0]], id="one-row"),
    ],
)
def test_tensors_are_given_by_name(x: str, y: str, expected: list[list[float]], asker: Cli) -> None:
    """Each input is JSON; a single row may leave out the brackets of the batch."""
    told = asker.document("predict", "sums", "--tensor", f"x={x}", "--tensor", f"y={y}")
    assert told["predictions"][0]["outputs"] == {"sum": expected}


def test_a_tensor_can_be_read_from_a_file(asker: Cli) -> None:
    """`NAME=@FILE` reads JSON that is too long for a command line."""
    (asker.folder / "x.json").write_text("[[1, 2]]")
    ended = asker("predict", "sums", "--tensor", "x=@x.json", "--tensor", "y=[[1]]")
    assert ended.exit_code == 0, ended.stderr
    assert "sum=[[4.0]]" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        pytest.param(["echo"], 2, "give texts", id="nothing-to-ask"),
        pytest.param(["echo", "hi", "--tensor", "text=[]"], 2, "give texts", id="both"),
        pytest.param(["a/b", "hi"], 2, "letters, digits", id="no-id"),
        pytest.param(["ecko", "hi"], 1, "did you mean echo?", id="unknown-bot"),
        pytest.param(["sums", "hi"], 1, "x FP32 [-1, 2], y INT64 [-1, 1]", id="takes-tensors"),
        pytest.param(["sums", "--tensor", "x=[[1,2]]"], 2, "each of x, y", id="missing-tensor"),
        pytest.param(["sums", "--tensor", "z=[[1,2]]"], 2, "one of x, y", id="unknown-tensor"),
        pytest.param(["sums", "--tensor", "x=[[1,"], 2, "must be JSON", id="no-json"),
        pytest.param(["sums", "--tensor", "x=@nothing.json"], 2, "nothing.json", id="no-file"),
        pytest.param(["sums", "--tensor", "x=[[1,2]]", "--tensor", "y=[[0.5]]"], 2, "whole numbers", id="wrong-type"),
        pytest.param(["sums", "--tensor", "x=[[1,2,3]]", "--tensor", "y=[[1]]"], 1, "'x'", id="wrong-shape"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], exit_code: int, told: str, asker: Cli) -> None:
    """What is wrong with a question is said before, or as the bot said it."""
    ended = asker("predict", *arguments)
    assert ended.exit_code == exit_code
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_one_failed_answer_does_not_hide_the_others(asker: Cli) -> None:
    """Good answers are shown, the failed one is told with its text, and the exit code is 1."""
    ended = asker("predict", "echo", "hello", "boom", "bye")
    assert ended.exit_code == 1
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["TEXT", "hello", "bye"]
    assert "'boom': input 'text': it says boom (400)" in ended.stderr


def test_a_bot_cannot_steer_the_terminal(asker: Cli) -> None:
    """Control characters in an answer are shown, not sent."""
    shown = asker("predict", "echo", "\x1b[31mred").stdout
    assert "\x1b" not in shown
    assert "<\\x1b[31mred>" in shown


def test_a_router_that_is_away_has_its_own_exit_code(cli: Cli) -> None:
    """Nothing listens: that may change, and is not the bot's fault."""
    ended = cli("predict", "echo", "hi", "--url", f"http://127.0.0.1:{free_port()}")
    assert ended.exit_code == 3
    assert "cannot be reached" in ended.stderr


def test_a_router_that_is_silent_is_left_in_time(asker: Cli, server: BotServer) -> None:
    """`--timeout` bounds the wait."""
    server.hold.clear()
    ended = asker("predict", "echo", "hi", "--timeout", "0.2")
    assert ended.exit_code == 3
    assert "no answer in time" in ended.stderr


def test_no_stack_and_no_url_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    """Without a router there are two ways out, and both are named."""
    ended = cli("predict", "echo", "hi", "--folder", str(tmp_path))
    assert ended.exit_code == 3
    assert "botshard up" in ended.stderr
    assert "--url" in ended.stderr
