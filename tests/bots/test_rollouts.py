"""What is served of a published bot: pinned, rolled back, retired, and looked up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from botshard.bots.errors import UnknownBotError, UnknownVersionError
from botshard.bots.publish import publish
from botshard.bots.rollouts import read_bot, read_bots, retire, rollback, set_rollout
from botshard.sharding.ids import BotId
from botshard.store.base import ObjectStore
from tests.bots.folders import changed, write_bot


@pytest.fixture
def bot_id(store: ObjectStore, tmp_path: Path) -> BotId:
    """A bot with versions 1, 2 and 3."""
    for value in (1, 2, 3):
        publish(store, [write_bot(tmp_path / "bot", value=value)], now_s=value)
    return BotId("acme-banking")


def test_a_rollback_serves_the_version_before_and_stays_there(store: ObjectStore, bot_id: BotId) -> None:
    """Each rollback goes one version further back, down to the first."""
    assert rollback(store, bot_id).serving.number == 2
    assert rollback(store, bot_id).serving.number == 1
    with pytest.raises(UnknownVersionError, match="version 1 is its first; there is none to go back to"):
        rollback(store, bot_id)
    assert read_bot(store, bot_id).serving.number == 1
    assert [version.number for version in read_bot(store, bot_id).versions] == [1, 2, 3]


def test_a_rollback_can_name_its_version(store: ObjectStore, bot_id: BotId) -> None:
    """One that the bot has; the error lists them."""
    assert rollback(store, bot_id, to=1).serving.number == 1
    with pytest.raises(UnknownVersionError, match="must be one of its versions 1, 2, 3, found 4"):
        rollback(store, bot_id, to=4)


def test_a_rollout_is_pinned_and_let_go(store: ObjectStore, bot_id: BotId) -> None:
    """None follows the newest again."""
    assert set_rollout(store, bot_id, version=2).serving.number == 2
    assert set_rollout(store, bot_id, version=None).serving.number == 3


def test_a_retired_bot_keeps_its_versions_and_takes_no_rollout(store: ObjectStore, bot_id: BotId) -> None:
    """Retiring twice is no error; the way back is named."""
    assert retire(store, bot_id).retired
    assert retire(store, bot_id).retired
    with pytest.raises(UnknownBotError, match="is retired; publish its folder"):
        rollback(store, bot_id)
    with pytest.raises(UnknownBotError, match="is retired; publish its folder"):
        set_rollout(store, bot_id, version=1)
    assert read_bot(store, bot_id).latest.number == 3


_CHANGES: dict[str, Callable[[ObjectStore, str], object]] = {
    "read": read_bot,
    "rollback": rollback,
    "retire": retire,
    "set_rollout": lambda store, bot_id: set_rollout(store, bot_id, version=1),
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES.keys())
def test_an_unknown_bot_is_answered_with_near_names(
    store: ObjectStore, bot_id: BotId, change: Callable[[ObjectStore, str], object]
) -> None:
    """A slip of the keyboard finds the bot that was meant."""
    with pytest.raises(UnknownBotError, match=f"did you mean {bot_id}") as caught:
        change(store, "acme-bankin")
    assert caught.value.near == (bot_id,)
    with pytest.raises(UnknownBotError, match=r"'zzz' is not in the catalog$"):
        change(store, "zzz")


def test_many_bots_are_looked_up_at_once(store: ObjectStore, bot_id: BotId, tmp_path: Path) -> None:
    """Those that are there, and no others."""
    publish(store, [write_bot(tmp_path / "two", changed("id", "two"))], now_s=1)
    assert set(read_bots(store, [bot_id, BotId("two"), BotId("absent")])) == {bot_id, "two"}
