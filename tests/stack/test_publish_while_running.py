"""What publishers do while a stack runs is seen by clients within two seconds, without a restart."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from botshard.bots.rollouts import retire, rollback
from botshard.sharding.residency import Residency
from botshard.store.layout import blob_key
from botshard.store.manifests import sha256_hex
from botshard.store.reports import read_reports
from tests.local_stack import Answer, LocalStack, ask, write_bots
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_SEEN_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For bots and stack."""
    return tmp_path_factory.mktemp("publish")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[LocalStack]:
    """A stack with one realtime bot that answers."""
    with LocalStack(folder) as stack:
        stack.publish(write_bots(folder / "bots", ["first"]))
        stack.wait_for("first")
        yield stack


def _relabel(bot: Path, new: str) -> None:
    bot_yaml = bot / "bot.yaml"
    bot_yaml.write_text(bot_yaml.read_text().replace("labels: [greeting,", f"labels: [{new},"))


def _seen(check: Callable[[], bool]) -> float:
    started_s = time.monotonic()
    eventually(check, within_s=_SEEN_WITHIN_S)
    return time.monotonic() - started_s


def test_a_new_bot_answers(stack: LocalStack, folder: Path) -> None:
    """A bot of a family that has a pool already is served right after it was published."""
    stack.publish(write_bots(folder / "bots", ["second"]))
    _seen(lambda: ask(stack.url, "second").status == 200)


def test_a_new_version_a_rollback_and_a_retirement_are_seen(stack: LocalStack, folder: Path) -> None:
    """Each within two seconds; no request fails in between."""
    bot = write_bots(folder / "bots", ["third"])[0]
    stack.publish([bot])
    stack.wait_for("third")
    _relabel(bot, "hail")
    stack.publish([bot])
    _seen(lambda: ask(stack.url, "third").label == "hail")
    assert ask(stack.url, "third").headers["x-botshard-bot-version"] == "2"
    rollback(stack.store, "third")
    _seen(lambda: ask(stack.url, "third").label == "greeting")
    retire(stack.store, "third")
    _seen(lambda: ask(stack.url, "third").status == 404)
    stack.publish([bot])
    _seen(lambda: ask(stack.url, "third").status == 200)


def test_a_broken_bot_harms_no_other_and_says_why(stack: LocalStack, folder: Path) -> None:
    """Its blob is damaged in the store: it answers 503 with the reason, its neighbours answer as ever."""
    bot = write_bots(folder / "bots", ["broken"])[0]
    model = bytearray((bot / "model.safetensors").read_bytes())
    model[-4] ^= 1  # another file than its neighbours', which share theirs
    (bot / "model.safetensors").write_bytes(model)
    # Damaged before it is published, or a pool might be faster than the damage; of its size, or it would be sent again.
    stack.store.put(blob_key(sha256_hex(bytes(model))), b"d" * len(model))
    stack.publish([bot])
    answer = eventually(lambda: _status(stack, "broken", 503), within_s=10)
    assert answer is not None
    assert "model.safetensors" in answer.body["error"] or "damaged" in answer.body["error"], answer.body
    assert "retry-after" in answer.headers
    assert ask(stack.url, "first").status == 200
    eventually(lambda: _reported_error(stack, "broken"), within_s=15)


def _status(stack: LocalStack, bot: str, status: int) -> Answer | None:
    found = ask(stack.url, bot)
    return found if found.status == status else None


def _reported_error(stack: LocalStack, bot: str) -> str | None:
    for report in read_reports(stack.store)[0]:
        found = report.bots.get(bot)  # type: ignore[call-overload]
        if found is not None and found.state is Residency.FAILED:
            return str(found.error)
    return None


def test_an_unknown_bot_is_404_on_every_path(stack: LocalStack) -> None:
    """Always with an error object."""
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=10)
    for method, path in (("GET", "/v2/models/nobody"), ("GET", "/v2/models/nobody/ready"), ("GET", "/nothing")):
        connection.request(method, path)
        response = connection.getresponse()
        assert response.status == 404
        assert b'"error"' in response.read()
    connection.close()
