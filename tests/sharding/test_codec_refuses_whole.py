"""A damaged document is refused whole, with the fields that are wrong, and never with another error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.codec import decode_catalog, decode_table
from botshard.sharding.errors import InvalidDocumentError
from tests.sharding.building import THOROUGH

Decode = Callable[[bytes], object]
Path_ = tuple[str | int, ...]

TABLE = (Path(__file__).parent.parent / "golden" / "table.json").read_bytes()
CATALOG = json.dumps(
    {
        "format": "botshard.catalog/v1",
        "revision": 7,
        "bots": {
            "acme-banking": {
                "tenant": "acme",
                "rollout": 2,
                "retired": True,
                "versions": [
                    {
                        "number": number,
                        "artifact": "0a" * 32,
                        "bytes": 4096,
                        "group": "realtime",
                        "framework": "torch",
                        "backbone": "minilm",
                        "pin": "vip",
                        "publishedAtS": 1_700_000_000,
                        "memoryBytes": 2_000_000,
                        "ratePerS": 4.5,
                    }
                    for number in (1, 2)
                ],
            }
        },
    }
).encode()
DOCUMENTS: dict[str, tuple[Decode, bytes]] = {"table": (decode_table, TABLE), "catalog": (decode_catalog, CATALOG)}
OPTIONAL = {"backbone", "pin", "rollout", "retired", "memoryBytes", "ratePerS", "targets", "lingering"}
OF_ANOTHER_TYPE: dict[type, list[object]] = {
    str: [7, "", True, ["x"], {}, "\x00", "a b", "\ud800"],
    int: ["7", -1, 1.5, True, [], 10**30, 10**400, None],
    float: ["7", -1.0, True, [], 10**400, None],
    bool: ["true", 1, [], {}],
    list: [{}, "x", 7, None, [None], [[]]],
    dict: [[], "x", 7, None],
}


def places(value: object, path: Path_ = ()) -> Iterator[Path_]:
    """Every place of a document, the whole of it first."""
    yield path
    members: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    for key, inner in members:
        yield from places(inner, (*path, key))


def at(document: Any, path: Path_) -> Any:
    """What stands at a place."""
    for key in path:
        document = document[key]
    return document


def changed(document: object, path: Path_, value: object) -> bytes:
    """The document with another value at a place."""
    copied: Any = copy.deepcopy(document)
    if not path:
        return json.dumps(value).encode()
    at(copied, path[:-1])[path[-1]] = value
    return json.dumps(copied).encode()


def is_told_of(path: Path_, error: InvalidDocumentError) -> bool:
    """Whether a problem names a place, an item in it, or the row of indices that it stands in."""
    name = ""
    for key in path:
        name += f"[{key}]" if isinstance(key, int) else f".{key}" if name else key
    row = name[: name.rindex("[")] if isinstance(path[-1], int) else name
    fields = {problem.field for problem in error.problems}
    return bool({name, row} & fields) or any(field.startswith(f"{name}[") for field in fields)


def _sampled(document: object) -> list[Path_]:
    """Every place, but of the many rows of indices only the first."""
    return [path for path in places(document) if path and not _is_later_row(path)]


def _is_later_row(path: Path_) -> bool:
    rows = [key for before, key in pairwise(path) if before in {"shards", "pools"}]
    return any(isinstance(row, int) and row > 0 for row in rows)


PLACES: list[tuple[str, Path_]] = [
    (name, path) for name, (_, data) in DOCUMENTS.items() for path in _sampled(json.loads(data))
]
MEMBERS = [(name, path) for name, path in PLACES if isinstance(path[-1], str)]
OBJECTS = [(name, path) for name, path in PLACES if isinstance(at(json.loads(DOCUMENTS[name][1]), path), dict)]


def dotted(value: str | Path_) -> str:
    """A short name of a place for the test's own."""
    return value if isinstance(value, str) else ".".join(map(str, value))


def refused(name: str, data: bytes) -> InvalidDocumentError:
    """The refusal of a damaged document."""
    decode = DOCUMENTS[name][0]
    with pytest.raises(InvalidDocumentError) as caught:
        decode(data)
    return caught.value


@pytest.mark.parametrize(("name", "path"), PLACES, ids=dotted)
def test_a_field_with_a_wrong_value_is_named(name: str, path: Path_) -> None:
    """Whatever stands there instead, one of the problems is told of this very field."""
    document = json.loads(DOCUMENTS[name][1])
    for value in OF_ANOTHER_TYPE[type(at(document, path))]:
        if value == at(document, path) or (value is None and path[-1] in OPTIONAL - {"targets", "lingering"}):
            continue
        error = refused(name, changed(document, path, value))
        assert is_told_of(path, error), (value, str(error))
        str(error).encode()  # fit for a log


@pytest.mark.parametrize(("name", "path"), MEMBERS, ids=dotted)
def test_a_field_that_is_not_there_is_named(name: str, path: Path_) -> None:
    """Unless it is optional; members of a mapping may all be absent, but somebody misses them."""
    document = json.loads(DOCUMENTS[name][1])
    decode, _ = DOCUMENTS[name]
    del at(document, path[:-1])[path[-1]]
    data = json.dumps(document).encode()
    if path[-1] in OPTIONAL or path[:-1] == ("bots",) or path[-2:-1] in {("targets",), ("lingering",)}:
        decode(data)
        return
    error = refused(name, data)
    if path[:-1] == ("groups",):
        assert any(problem.field.endswith("].group") for problem in error.problems)
    else:
        assert is_told_of(path, error), str(error)


@pytest.mark.parametrize(("name", "path"), OBJECTS, ids=dotted)
def test_an_unknown_field_is_named(name: str, path: Path_) -> None:
    """A misspelt field would silently not be applied."""
    document = json.loads(DOCUMENTS[name][1])
    at(document, path)["untilMs"] = 1
    error = refused(name, json.dumps(document).encode())
    assert any(problem.field.endswith("untilMs") for problem in error.problems)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_truncated_document_is_refused_at_every_byte(name: str) -> None:
    """A write that was cut off is never taken for a small table."""
    decode, data = DOCUMENTS[name]
    decode(data)
    for length in range(len(data)):
        refused(name, data[:length])


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"\xff",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"format":NaN}',
        b"9" * 5000,
    ],
    ids=lambda data: ascii(data[:16]),
)
def test_what_is_no_object_is_refused(name: str, data: bytes) -> None:
    """Also what makes a parser give up."""
    assert refused(name, data).problems


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_key_that_stands_twice_is_refused(name: str) -> None:
    """Readers of different languages would take different ones."""
    data = DOCUMENTS[name][1].replace(b'"format"', b'"format":"x","format"', 1)
    assert "stands twice" in str(refused(name, data))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_another_format_is_refused_without_a_look_inside(name: str) -> None:
    """Every other problem would only follow from that one."""
    data = DOCUMENTS[name][1].replace(b"/v1", b"/v2", 1).replace(b"torch", b"!", 1)
    (problem,) = refused(name, data).problems
    assert problem.field == "format"


@given(data=st.data(), name=st.sampled_from(sorted(DOCUMENTS)))
@THOROUGH
def test_damaged_bytes_are_refused_or_make_a_whole_document(data: st.DataObject, name: str) -> None:
    """Any few bytes changed: either it is refused as a document, or it still is one. Never another error."""
    decode, whole = DOCUMENTS[name]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.sampled_from(b'"{}[],:09-.eE\\ x\x00\xff'))
    try:
        decode(bytes(damaged))
    except InvalidDocumentError as error:
        assert error.problems  # noqa: PT017 - either outcome is right


def _table_with(edit: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(TABLE)
    edit(document)
    return json.dumps(document).encode()


def _edit(path: Path_, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        at(document, path[:-1])[path[-1]] = value

    return apply


MOVING: Path_ = ("families", 2)
INCONSISTENT: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "epoch 0": (_edit(("epoch",), 0), "epoch"),
    "too many bits": (_edit((*MOVING, "bits"), 21), "families[2].bits"),
    "fewer bits than shards": (_edit((*MOVING, "bits"), 3), "families[2].shards"),
    "a shard too many": (lambda t: at(t, MOVING)["shards"].append([0]), "families[2].shards"),
    "a shard without pools": (_edit((*MOVING, "shards", 3), []), "families[2].shards[3]"),
    "a pool twice in a shard": (_edit((*MOVING, "shards", 3), [1, 1]), "families[2].shards[3]"),
    "a pool beyond the list": (_edit((*MOVING, "shards", 3), [0, 4]), "families[2].shards[3]"),
    "a truth for a pool": (_edit((*MOVING, "shards", 3), [True]), "families[2].shards[3]"),
    "a target of later": (_edit((*MOVING, "targets", "0", "since"), 43), "families[2].targets.0.since"),
    "a target of no pool": (_edit((*MOVING, "targets", "0", "pools"), []), "families[2].targets.0.pools"),
    "a target's shard beyond": (
        _edit((*MOVING, "targets", "16"), {"pools": [0], "since": 1}),
        "families[2].targets.16",
    ),
    "a shard written 07": (_edit((*MOVING, "targets", "07"), {"pools": [0], "since": 1}), "families[2].targets.07"),
    "a shard in other digits": (_edit((*MOVING, "targets", "٣"), {"pools": [0], "since": 1}), "families[2].targets.٣"),
    "a shard of 5000 digits": (
        _edit((*MOVING, "lingering", "1" * 5000), {"pools": [0], "untilS": 1}),
        "families[2].lingering." + "1" * 128,
    ),
    "a shard that breaks a log": (
        _edit((*MOVING, "lingering", "1\n\ud800"), {"pools": [0], "untilS": 1}),
        "families[2].lingering.'1\\n\\ud800'",
    ),
    "a pool twice in a family": (
        lambda t: at(t, MOVING)["pools"].__setitem__(1, at(t, MOVING)["pools"][0]),
        "families[2].pools[1].name",
    ),
    "a pool in two families": (
        lambda t: at(t, MOVING)["pools"].__setitem__(1, t["families"][0]["pools"][0]),
        "families[2].pools",
    ),
    "a family twice": (lambda t: t["families"].append(dict(t["families"][0])), "families[4]"),
    "a group that is not there": (_edit((*MOVING, "group"), "vip"), "families[2].group"),
    "no time for a request": (_edit(("groups", "realtime", "requestTimeoutS"), 0), "groups.realtime.requestTimeoutS"),
    "a group with a bad name": (_edit(("groups", "Real"), {}), "groups.Real"),
}
URLS = ["", "http://", "http:///", "ftp://a", "http://a/", "http://a b", "http://a\n", "http://é", "http://\x7f", "//a"]


@pytest.mark.parametrize(("edit", "field"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_parts_that_do_not_fit_each_other_are_refused(edit: Callable[[dict[str, Any]], None], field: str) -> None:
    """A table is more than its fields."""
    error = refused("table", _table_with(edit))
    assert field in {problem.field for problem in error.problems}, str(error)
    str(error).encode()


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_a_url_that_cannot_stand_in_a_request_is_refused(url: str) -> None:
    """It becomes part of request lines and of log lines as it stands."""
    error = refused("table", _table_with(_edit((*MOVING, "pools", 0, "url"), url)))
    assert [problem.field for problem in error.problems] == ["families[2].pools[0].url"]


BAD_BOTS: dict[str, tuple[Path_, object, str]] = {
    "no version": (("versions",), [], "versions"),
    "versions that fall": (("versions", 0, "number"), 3, "versions"),
    "a version twice": (("versions", 0, "number"), 2, "versions"),
    "a rollout to nowhere": (("rollout",), 3, "rollout"),
    "half a digest": (("versions", 1, "artifact"), "0a" * 16, "versions[1].artifact"),
    "a digest in capitals": (("versions", 1, "artifact"), "0A" * 32, "versions[1].artifact"),
    "an endless rate": (("versions", 1, "ratePerS"), 10**400, "versions[1].ratePerS"),
}


@pytest.mark.parametrize(("path", "value", "field"), BAD_BOTS.values(), ids=BAD_BOTS)
def test_a_bot_whose_parts_do_not_fit_is_refused(path: Path_, value: object, field: str) -> None:
    """An entry is more than its fields."""
    error = refused("catalog", changed(json.loads(CATALOG), ("bots", "acme-banking", *path), value))
    assert f"bots.acme-banking.{field}" in {problem.field for problem in error.problems}, str(error)


def test_a_bot_with_a_bad_name_is_refused() -> None:
    """Names of bots become paths."""
    error = refused("catalog", CATALOG.replace(b"acme-banking", b"../acme"))
    assert [problem.field for problem in error.problems] == ["bots.../acme"]


def test_all_problems_are_told_at_once_up_to_a_page() -> None:
    """Every one of a few; of thousands, fifty."""
    few = CATALOG.replace(b"acme-banking", b"a b").replace(b'"tenant": "acme"', b'"tenant": 7')
    assert len(refused("catalog", few.replace(b'"revision": 7', b'"revision": 0')).problems) == 2
    entries: dict[str, object] = {f"bot {number}": {} for number in range(1000)}
    many = json.dumps({"format": "botshard.catalog/v1", "revision": 1, "bots": entries}).encode()
    assert len(refused("catalog", many).problems) == 50


_VERSION = {"artifact": "0a" * 32, "bytes": 1, "group": "realtime", "framework": "torch", "publishedAtS": 1}
PLAIN = {"tenant": "acme", "retired": False, "versions": [{"number": 1, **_VERSION}, {"number": 2, **_VERSION}]}
STRANGE = [value for values in OF_ANOTHER_TYPE.values() for value in values]


def _decoded(bots: dict[str, object]) -> tuple[object, set[str]]:
    """The bot `b` or the fields of it that are refused."""
    data = json.dumps({"format": "botshard.catalog/v1", "revision": 1, "bots": bots}).encode()
    try:
        decoded = {bot.id: bot for bot in decode_catalog(data)[1]}
    except InvalidDocumentError as error:
        return None, {f"{problem.field} {problem}" for problem in error.problems}
    return {str(bot_id): bot for bot_id, bot in decoded.items()}["b"], set()


@pytest.mark.parametrize("path", [path for path in places(PLAIN) if path], ids=lambda path: ".".join(map(str, path)))
def test_an_entry_is_judged_alike_whichever_way_it_is_read(path: Path_) -> None:
    """After one of its family was read, an entry is taken the short way if it is right: never if it is not."""
    without = copy.deepcopy(PLAIN)
    del at(without, path[:-1])[path[-1]]
    entries = [without, *(changed_entry(path, value) for value in [*STRANGE, "a.b", 3, 2**63])]
    for entry in entries:
        assert _decoded({"a": PLAIN, "b": entry}) == _decoded({"b": entry})


def changed_entry(path: Path_, value: object) -> object:
    """`PLAIN` with something else at a place."""
    entry = copy.deepcopy(PLAIN)
    at(entry, path[:-1])[path[-1]] = value
    return entry
