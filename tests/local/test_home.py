"""What controller and keeper write for each other is read as it was written, or refused by the field's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.local.home import LocalHome, decode_specs, decode_statuses, encode_specs, encode_statuses
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.fleet import PoolPhase, PoolSpec, PoolStatus
from botshard.sharding.groups import PoolGroupSpec, RoutePolicy
from botshard.sharding.ids import FamilyId, Framework, GroupName, PoolName
from botshard.store.files import FileStore

_SECONDS = st.floats(0.001, 600.0)
_LABELS = st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True)


@st.composite
def _specs(draw: st.DrawFn) -> PoolSpec:
    group = PoolGroupSpec(
        name=GroupName(draw(_LABELS)),
        realtime=draw(st.booleans()),
        min_replicas=draw(st.integers(0, 9)),
        max_replicas=draw(st.integers(1, 99)),
        shard_replicas=draw(st.integers(1, 4)),
        pool_memory_bytes=draw(st.integers(1, 2**50)),
        overcommit=draw(st.floats(1.0, 100.0)),
        pool_reloads_per_s=draw(st.floats(0.0, 100.0)),
        bots_per_pool=draw(st.integers(1, 10_000)),
        request_timeout_s=draw(_SECONDS),
        cold_start_timeout_s=draw(_SECONDS),
        idle_after_s=draw(_SECONDS),
        bot_idle_after_s=draw(_SECONDS),
        concurrency=draw(st.integers(1, 1000)),
        policy=draw(st.none() | st.sampled_from(RoutePolicy)),
        blast_radius_limit=draw(st.none() | st.floats(0.001, 1.0)),
    )
    framework = Framework(draw(st.sampled_from(["torch", "tensorflow"])))
    key = FamilyKey(group.name, framework, draw(st.none() | _LABELS), draw(st.none() | _LABELS))
    return PoolSpec(PoolName(draw(_LABELS)), FamilyId(draw(st.text(max_size=20))), key, group)


_STATUSES = st.builds(
    PoolStatus,
    name=_LABELS.map(PoolName),
    url=st.none() | st.just("http://127.0.0.1:4711"),
    phase=st.sampled_from(PoolPhase),
    replicas=st.integers(0, 9),
    ready_replicas=st.integers(0, 9),
    message=st.text(max_size=40),
    members=st.lists(_LABELS, max_size=4).map(tuple),
)


@given(st.lists(_specs(), max_size=5, unique_by=lambda spec: spec.name))
def test_pools_that_are_wanted_come_back_as_they_were_written(specs: list[PoolSpec]) -> None:
    """Every field, sorted by name."""
    assert decode_specs(encode_specs(specs)) == tuple(sorted(specs, key=lambda spec: spec.name))


@given(st.lists(_STATUSES, max_size=5, unique_by=lambda status: status.name))
def test_what_is_seen_comes_back_as_it_was_written(statuses: list[PoolStatus]) -> None:
    """Every field, by name."""
    assert decode_statuses(encode_statuses(statuses)) == {status.name: status for status in statuses}


_SPEC = PoolSpec(
    PoolName("rt-torch-1"),
    FamilyId("f"),
    FamilyKey(GroupName("rt"), Framework("torch")),
    PoolGroupSpec(GroupName("rt"), realtime=True),
)
_STATUS = PoolStatus(PoolName("rt-torch-1"), "http://127.0.0.1:1", PoolPhase.READY, 1, 1, "", ("r1",))
_ABSENT = object()


@pytest.mark.parametrize(
    ("decode", "data", "path", "value", "field"),
    [
        *[
            pytest.param(decode_specs, encode_specs([_SPEC]), path, value, field, id=f"pools {field} {value!r:.12}")
            for path, value, field in [
                (("format",), "v0", "format"),
                (("pools",), {}, "pools"),
                (("pools", 0), 7, "pools[0]"),
                (("pools", 0, "name"), "Ü", "pools[0].name"),
                (("pools", 0, "family"), None, "pools[0].family"),
                (("pools", 0, "framework"), "caffe2?", "pools[0].framework"),
                (("pools", 0, "backbone"), 7, "pools[0].backbone"),
                (("pools", 0, "pin"), [], "pools[0].pin"),
                (("pools", 0, "group"), [], "pools[0].group"),
                (("pools", 0, "group", "name"), "UPPER", "pools[0].group.name"),
                (("pools", 0, "group", "realtime"), "yes", "pools[0].group.realtime"),
                (("pools", 0, "group", "policy"), "any", "pools[0].group.policy"),
                (("pools", 0, "group", "minReplicas"), -1, "pools[0].group.minReplicas"),
                (("pools", 0, "group", "maxReplicas"), 0, "pools[0].group.maxReplicas"),
                (("pools", 0, "group", "shardReplicas"), 1.5, "pools[0].group.shardReplicas"),
                (("pools", 0, "group", "poolMemoryBytes"), "1Mi", "pools[0].group.poolMemoryBytes"),
                (("pools", 0, "group", "botsPerPool"), True, "pools[0].group.botsPerPool"),
                (("pools", 0, "group", "requestTimeoutS"), -0.5, "pools[0].group.requestTimeoutS"),
                (("pools", 0, "group", "coldStartTimeoutS"), "30s", "pools[0].group.coldStartTimeoutS"),
                (("pools", 0, "group", "idleAfterS"), None, "pools[0].group.idleAfterS"),
                (("pools", 0, "group", "concurrency"), _ABSENT, "pools[0].group.concurrency"),
            ]
        ],
        *[
            pytest.param(decode_statuses, encode_statuses([_STATUS]), path, value, field, id=f"status {field}")
            for path, value, field in [
                (("format",), None, "format"),
                (("pools", 0, "name"), "", "pools[0].name"),
                (("pools", 0, "url"), 80, "pools[0].url"),
                (("pools", 0, "phase"), "dancing", "pools[0].phase"),
                (("pools", 0, "replicas"), -1, "pools[0].replicas"),
                (("pools", 0, "readyReplicas"), "1", "pools[0].readyReplicas"),
                (("pools", 0, "message"), None, "pools[0].message"),
                (("pools", 0, "members"), "r1", "pools[0].members"),
                (("pools", 0, "members", 0), 1, "pools[0].members[0]"),
            ]
        ],
    ],
)
def test_a_bad_field_is_refused_by_its_name(
    decode: Callable[[bytes], object], data: bytes, path: tuple[str | int, ...], value: object, field: str
) -> None:
    """The document is refused whole."""
    document = json.loads(data)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if value is _ABSENT:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(InvalidDocumentError) as refused:
        decode(json.dumps(document).encode())
    problems = [problem.field for problem in refused.value.problems]
    assert problems[0] == field
    assert all(problem.startswith(field) for problem in problems)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"format": 1, "format": 2}', b"\xff"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    """Half a file, too."""
    for decode in (decode_specs, decode_statuses):
        with pytest.raises(InvalidDocumentError):
            decode(data)


def test_both_sides_read_what_the_other_wrote_last(tmp_path: Path) -> None:
    """Nothing before the first write; after a damaged document the error each time, then the next good one."""
    store = FileStore(tmp_path)
    controller, keeper = LocalHome(store), LocalHome(store)
    assert keeper.specs() is None
    assert controller.statuses() == {}
    controller.write_specs([_SPEC])
    keeper.write_statuses([_STATUS])
    for _ in range(2):
        assert keeper.specs() == (_SPEC,)
        assert controller.statuses() == {_STATUS.name: _STATUS}
    store.put("pools.json", b"{")
    for _ in range(2):
        with pytest.raises(InvalidDocumentError):
            keeper.specs()
    controller.write_specs([])
    assert keeper.specs() == ()
    store.close()
