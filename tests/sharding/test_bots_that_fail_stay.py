"""A bot that cannot be loaded where its shard goes keeps being served where the shard was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from botshard.sharding.fleet import FailedLoad, Snapshot
from botshard.sharding.ids import BotId, PoolName
from tests.sharding.moving import (
    GRACE_S,
    NOW_S,
    SHARDS,
    A,
    B,
    C,
    after,
    begun,
    bots_in,
    bots_of,
    fleet,
    placed,
    routes_of,
    step,
    warm,
    with_pools,
)

BROKEN = FailedLoad("the blob is damaged", everywhere=True)
LOADING = FailedLoad(None, everywhere=False)
WANTED = placed(((B,),) * SHARDS)
(BOT,) = bots_in(1, 1)


def failing(seen: Snapshot, pool: PoolName, *bots: BotId, how: FailedLoad = BROKEN) -> Snapshot:
    """The snapshot in which bots fail in a pool."""
    return replace(seen, failing={**seen.failing, pool: dict.fromkeys(bots, how)})


@pytest.fixture
def warmed() -> Snapshot:
    """Every shard is on its way from A to B, which has tried to load all of it."""
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(dict.fromkeys(range(SHARDS), 5))), B)
    return warm(after(seen, step(seen, WANTED)), B)


def test_its_shard_stays_the_others_go_and_the_reason_is_told(warmed: Snapshot) -> None:
    """The plan is settled then: only the bot itself can change that. When it loads, the move goes on."""
    seen = failing(warmed, B, BOT)
    done = step(seen, WANTED)
    sentence = f"bot {BOT} cannot be loaded by {B}: the blob is damaged"
    assert [text.partition("stays where it is: ")[2] for text in done.stuck] == [sentence]
    assert set(done.stuck) <= set(done.waiting)
    seen = after(seen, done)
    assert routes_of(seen).shards == ((B,), (A,), (B,), (B,))
    assert begun(seen) == {1}
    seen = after(seen, step(seen, WANTED, now_s=NOW_S + GRACE_S))
    rest = step(seen, WANTED, now_s=NOW_S + GRACE_S)
    assert rest.is_settled
    assert (rest.table, rest.moving) == (None, 1)
    assert routes_of(after(seen, step(replace(seen, failing={}), WANTED))).shards == ((B,),) * SHARDS


def test_it_takes_no_room_from_those_that_wait(warmed: Snapshot) -> None:
    """Its shard has been loaded but for it, so that the budget is free."""
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(dict.fromkeys(range(SHARDS), 5), rates={1: 1.0})), B)
    seen = warm(after(seen, step(seen, WANTED, budget_bots=5)), B)
    assert begun(seen) == {1}
    seen = failing(seen, B, BOT)
    for shard in (0, 2, 3):
        seen = after(seen, step(seen, WANTED, budget_bots=5))
        assert begun(seen) == {1, shard}
        seen = warm(seen, B)
    assert routes_of(after(seen, step(seen, WANTED))).shards == ((B,), (A,), (B,), (B,))


def test_a_bot_that_is_served_nowhere_holds_nothing_up(warmed: Snapshot) -> None:
    """It fails where it was, too: moving loses nothing."""
    seen = failing(failing(warmed, B, BOT), A, BOT)
    assert routes_of(after(seen, step(seen, WANTED))).shards == ((B,),) * SHARDS


def test_a_bot_that_some_replica_has_is_served(warmed: Snapshot) -> None:
    """Where it was, one replica of two can: the move would be worse."""
    seen = failing(failing(warmed, B, BOT), A, BOT, how=FailedLoad("disk full", everywhere=False))
    assert routes_of(after(seen, step(seen, WANTED))).shards[1] == (A,)


def test_a_bot_that_is_still_being_loaded_is_waited_for(warmed: Snapshot) -> None:
    """A new version in place of one that failed: nothing is given up."""
    done = step(failing(warmed, B, BOT, how=LOADING), WANTED)
    assert done.stuck == ()
    assert f"bot {BOT} is still being loaded by {B}" in done.waiting[0]
    assert routes_of(after(warmed, done)).shards[1] == (A,)


def test_of_two_pools_each_must_have_it() -> None:
    """With two pools a shard, half of its requests would fail."""
    wanted = placed(((A, C),) * SHARDS)
    seen = with_pools(fleet(((A, B),) * SHARDS, bots_of({1: 3})), C)
    seen = warm(after(seen, step(seen, wanted)), C)
    seen = failing(seen, C, BOT)
    assert routes_of(after(seen, step(seen, wanted))).shards[1] == (A, B)


def test_many_of_them_are_told_in_few_sentences() -> None:
    """The status is read by people."""
    (family,) = WANTED.families.values()
    finer = replace(WANTED, families={family.id: family.split_to(6)})
    seen = with_pools(fleet(((A,),) * SHARDS, bots_of(dict.fromkeys(range(SHARDS), 50))), B)
    seen = warm(after(seen, step(seen, finer)), B)
    done = step(failing(seen, B, *(bot.id for bot in seen.bots)), finer)
    assert len(done.stuck) == 11
    assert "more shards stay where they are" in done.stuck[-1]
