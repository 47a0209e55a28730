"""Reading only the lines of a catalog object that are new comes to the same as reading all, or is not done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.catalog import Bot, Version
from botshard.sharding.catalog_lines import CatalogLines, read_changed_lines
from botshard.sharding.codec import decode_catalog, encode_catalog
from botshard.sharding.ids import BotId, TenantId, VersionNumber
from tests.sharding.building import QUICK, TORCH, catalogs

BOTS = [
    Bot(BotId(name), TenantId("acme"), (Version(VersionNumber(1), "0" * 64, 1000, TORCH, 0),))
    for name in ("one", "three", "two")
]


def lines_of(bots: list[Bot]) -> CatalogLines:
    lines = CatalogLines.of(encode_catalog(1, bots), bots=len(bots))
    assert lines is not None
    return lines


@given(catalog=catalogs, data=st.data())
@QUICK
def test_what_is_new_is_read_and_nothing_else(catalog: tuple[int, list[Bot]], data: st.DataObject) -> None:
    """Of any two catalogs: the bots that differ, how many lines are gone, and the lines to go on from."""
    revision, bots = catalog
    before = [bot for bot in bots if data.draw(st.booleans())]
    after = [replace(bot, retired=not bot.retired) if data.draw(st.booleans()) else bot for bot in bots]

    changes = read_changed_lines(lines_of(before), encode_catalog(revision, after))

    assert changes is not None
    assert changes.revision == revision
    assert sorted(changes.bots, key=lambda bot: bot.id) == sorted(
        (bot for bot in after if bot not in before), key=lambda bot: bot.id
    )
    assert changes.gone == sum(bot not in after for bot in before)
    assert changes.lines == lines_of(after)


def _of_strangers(data: bytes) -> bytes:
    return json.dumps(json.loads(data), indent=1).encode()


def _with_two_on_a_line(data: bytes) -> bytes:
    return data.replace(b'},\n"', b'},"', 1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: data[:-1], id="without its last byte"),
        pytest.param(lambda data: data + b"\n", id="longer"),
        pytest.param(lambda data: data.replace(b"catalog/v1", b"catalog/v9"), id="another format"),
        pytest.param(lambda data: data.replace(b'"revision":2', b'"revision":"2"'), id="a wrong revision"),
        pytest.param(lambda data: data.replace(b'"number":1', b'"number":0'), id="a wrong field"),
        pytest.param(lambda data: data.replace(b"},\n", b"} \n", 1), id="a comma lost"),
        pytest.param(lambda data: data.replace(b'\n"', b'\n"x":{},"', 1), id="a strange entry before another"),
        pytest.param(_with_two_on_a_line, id="two on a line"),
        pytest.param(_of_strangers, id="written otherwise"),
        pytest.param(lambda data: b"\n".join((*data.split(b"\n")[:2], *data.split(b"\n")[1:])), id="one twice"),
    ],
)
def test_what_does_not_fit_is_left_to_those_who_read_all(damage: Callable[[bytes], bytes]) -> None:
    """Damaged, or well-formed and not as we write it."""
    data = encode_catalog(2, BOTS)

    assert read_changed_lines(lines_of([]), damage(data)) is None


def test_an_object_that_is_not_written_in_lines_has_none() -> None:
    """Another writer's object is read whole, and so is the next one."""
    data = encode_catalog(1, BOTS)

    assert CatalogLines.of(_of_strangers(data), bots=len(BOTS)) is None
    assert CatalogLines.of(data, bots=len(BOTS) + 1) is None
    assert decode_catalog(_of_strangers(data)) == decode_catalog(data)
