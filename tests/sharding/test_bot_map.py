"""A map of bots behaves as a dictionary that nobody can change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.bot_map import BotMap
from botshard.sharding.ids import BotId
from tests.sharding.building import QUICK

ids = st.integers(0, 30).map(lambda number: BotId(f"bot-{number}"))
EMPTY: BotMap[int] = BotMap()
changes = st.dictionaries(ids, st.none() | st.integers(0, 3), max_size=20)


@given(rounds=st.lists(changes, max_size=8))
@QUICK
def test_it_is_the_dictionary_that_the_changes_make(rounds: list[dict[BotId, int | None]]) -> None:
    """After any changes it has the same entries; what was made before holds still."""
    made: list[tuple[BotMap[int], dict[BotId, int]]] = []
    bots = EMPTY
    expected: dict[BotId, int] = {}
    for change in rounds:
        bots = bots.with_changes(change)
        expected = {bot_id: entry for bot_id, entry in {**expected, **change}.items() if entry is not None}
        made.append((bots, expected))

    for held, entries in made:
        assert dict(held.items()) == entries
        assert held == entries
        assert len(held) == len(entries)
        assert all(held[bot_id] == held.find(bot_id) == entry for bot_id, entry in entries.items())


def test_an_absent_bot_is_absent() -> None:
    """As of a dictionary: `get` gives the default, `in` is false."""
    bots = EMPTY.with_changes({BotId("one"): 1})

    assert bots.get(BotId("two")) is None
    assert bots.find("two") is None
    assert bots.get(BotId("two"), 2) == 2
    assert BotId("two") not in bots
    assert bool(bots)
    assert not EMPTY


def test_a_change_leaves_the_ids_that_stay_the_same_objects() -> None:
    """Whoever holds ids of an older map does not hold them twice."""
    first = BotId(str(b"one", "ascii"))
    bots = EMPTY.with_changes({first: 1})

    after = bots.with_changes({BotId(str(b"one", "ascii")): 2})

    assert next(iter(after)) is first
    assert after == {first: 2}


def test_going_through_it_is_not_disturbed_by_its_successors() -> None:
    """An iteration that has begun ends with the bots that it began with."""
    bots = EMPTY.with_changes({BotId(f"bot-{number}"): number for number in range(1000)})
    iteration = iter(bots.items())
    begun = [next(iteration) for _ in range(10)]

    bots.with_changes(dict.fromkeys(bots))

    assert len({*begun, *iteration}) == 1000
