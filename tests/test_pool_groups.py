"""Pool groups from YAML: what is left out has its default, what is wrong is named, and a file is taken whole or not."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from botshard.pool_groups import API_VERSION, KIND, parse_pool_groups, read_pool_groups
from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.groups import PoolGroupSpec, RoutePolicy
from botshard.sharding.ids import GroupName
from botshard.sharding.units import MEBIBYTE


def _group(name: str = "rt", /, **spec: object) -> dict[str, Any]:
    document = {"class": "realtime", **spec}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": document}


def _yaml(*documents: object) -> bytes:
    return yaml.safe_dump_all(documents).encode()


def _fields(data: bytes) -> list[str]:
    with pytest.raises(InvalidDocumentError) as refused:
        parse_pool_groups(data, "groups.yaml")
    assert refused.value.document == "groups.yaml"
    return [problem.field for problem in refused.value.problems]


def test_what_is_left_out_has_its_default() -> None:
    """A realtime group has a floor of one replica, another none."""
    realtime, other = parse_pool_groups(_yaml(_group("rt"), _group("nrt", **{"class": "non-realtime"})), "x")
    assert realtime == PoolGroupSpec(
        GroupName("rt"),
        realtime=True,
        min_replicas=1,
        max_replicas=4,
        shard_replicas=1,
        pool_memory_bytes=512 * MEBIBYTE,
        bots_per_pool=500,
        request_timeout_s=10.0,
        cold_start_timeout_s=30.0,
        idle_after_s=60.0,
        concurrency=16,
    )
    assert other == PoolGroupSpec(GroupName("nrt"), realtime=False, min_replicas=0)


def test_every_field_is_taken() -> None:
    """With its unit."""
    spec = {
        "replicas": {"min": 2, "max": 6},
        "shardReplicas": 2,
        "pool": {"memory": "1Gi", "overcommit": 4, "bots": 50, "reloadsPerSecond": 0.5},
        "timeouts": {"request": "500ms", "coldStart": "1m", "idle": 90, "botIdle": "30m"},
        "concurrency": 8,
        "policy": "response-time",
        "blastRadiusLimit": 0.25,
    }
    assert parse_pool_groups(_yaml(_group(**spec)), "x") == (
        PoolGroupSpec(
            name=GroupName("rt"),
            realtime=True,
            min_replicas=2,
            max_replicas=6,
            shard_replicas=2,
            pool_memory_bytes=1024 * MEBIBYTE,
            overcommit=4.0,
            pool_reloads_per_s=0.5,
            bots_per_pool=50,
            request_timeout_s=0.5,
            cold_start_timeout_s=60.0,
            idle_after_s=90.0,
            bot_idle_after_s=1800.0,
            concurrency=8,
            policy=RoutePolicy.RESPONSE_TIME,
            blast_radius_limit=0.25,
        ),
    )


def test_a_floor_over_the_default_ceiling_raises_it() -> None:
    """Nobody has to say both."""
    assert parse_pool_groups(_yaml(_group(replicas={"min": 9})), "x")[0].max_replicas == 9


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"class": "fast"}, "spec.class"),
        ({"class": None}, "spec.class"),
        ({"colour": "red"}, "spec.colour"),
        ({"policy": "random"}, "spec.policy"),
        ({"policy": ["first"]}, "spec.policy"),
        ({"replicas": 3}, "spec.replicas"),
        ({"replicas": {"min": 0}}, "spec.replicas.min"),
        ({"replicas": {"min": "2"}}, "spec.replicas.min"),
        ({"replicas": {"min": 3, "max": 2}}, "spec.replicas.max"),
        ({"replicas": {"max": 1001}}, "spec.replicas.max"),
        ({"replicas": {"most": 2}}, "spec.replicas.most"),
        ({"shardReplicas": 0}, "spec.shardReplicas"),
        ({"shardReplicas": 5}, "spec.shardReplicas"),
        ({"pool": []}, "spec.pool"),
        ({"pool": {"memory": "much"}}, "spec.pool.memory"),
        ({"pool": {"memory": "1Ki"}}, "spec.pool.memory"),
        ({"pool": {"memory": True}}, "spec.pool.memory"),
        ({"pool": {"memory": None}}, "spec.pool.memory"),
        ({"pool": {"bots": 0}}, "spec.pool.bots"),
        ({"pool": {"bots": 1.5}}, "spec.pool.bots"),
        ({"pool": {"cats": 1}}, "spec.pool.cats"),
        ({"pool": {"overcommit": 0.5}}, "spec.pool.overcommit"),
        ({"pool": {"overcommit": True}}, "spec.pool.overcommit"),
        ({"pool": {"overcommit": "4x"}}, "spec.pool.overcommit"),
        ({"pool": {"ratePerSecond": 0.0004}}, "spec.pool.ratePerSecond"),
        ({"pool": {"reloadsPerSecond": -1}}, "spec.pool.reloadsPerSecond"),
        ({"timeouts": {"botIdle": "8d"}}, "spec.timeouts.botIdle"),
        ({"timeouts": {"request": 0}}, "spec.timeouts.request"),
        ({"timeouts": {"request": "soon"}}, "spec.timeouts.request"),
        ({"timeouts": {"request": True}}, "spec.timeouts.request"),
        ({"timeouts": {"coldStart": "11m"}}, "spec.timeouts.coldStart"),
        ({"timeouts": {"idle": -1}}, "spec.timeouts.idle"),
        ({"timeouts": {"idle": []}}, "spec.timeouts.idle"),
        ({"timeouts": {"lunch": "1h"}}, "spec.timeouts.lunch"),
        ({"concurrency": 0}, "spec.concurrency"),
        ({"blastRadiusLimit": 0}, "spec.blastRadiusLimit"),
        ({"blastRadiusLimit": 1.5}, "spec.blastRadiusLimit"),
        ({"blastRadiusLimit": True}, "spec.blastRadiusLimit"),
        ({"concurrency": True}, "spec.concurrency"),
    ],
    ids=str,
)
def test_a_bad_field_is_refused_by_its_name(spec: dict[str, object], field: str) -> None:
    """A misspelt one too, which would otherwise silently not be applied."""
    assert _fields(_yaml(_group(**spec))) == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"apiVersion": "v1"}, "apiVersion"),
        ({"kind": "Pool"}, "kind"),
        ({"status": {}}, "status"),
        ({"metadata": {"name": "Upper"}}, "metadata.name"),
        ({"metadata": {"name": "a" * 25}}, "metadata.name"),
        ({"metadata": None}, "metadata"),
        ({"spec": None}, "spec"),
    ],
    ids=str,
)
def test_a_wrong_envelope_is_refused_by_its_field(change: dict[str, object], field: str) -> None:
    """As an API server would refuse it."""
    assert field in _fields(_yaml({**_group(), **change}))


def test_every_problem_is_told_at_once() -> None:
    """Of one object, in one error."""
    wrong = _group(replicas={"min": -1}, pool={"memory": "x"}, concurrency="y")
    assert _fields(_yaml(wrong)) == ["spec.replicas.min", "spec.pool.memory", "spec.concurrency"]


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n---\n", b"[1]", b"text", b"{", b"a: &x [*x]", b"\xff"])
def test_what_holds_no_group_is_refused(data: bytes) -> None:
    """Empty, no object, no YAML."""
    with pytest.raises(InvalidDocumentError):
        parse_pool_groups(data, "groups.yaml")


def test_several_documents_are_several_groups() -> None:
    """Empty ones, comments and foreign line ends between them are no harm."""
    text = b"# ours\n---\n" + _yaml(_group("a")) + b"\r\n--- # next\r\n" + _yaml(_group("b")) + b"---\n# end\n"
    assert [group.name for group in parse_pool_groups(text, "x")] == ["a", "b"]


def test_a_name_stands_once_in_a_file() -> None:
    """Which of the two holds would be anybody's guess."""
    assert _fields(_yaml(_group("a"), _group("b"), _group("a"))) == ["metadata.name"]


def test_a_folder_stands_for_its_yaml_files(tmp_path: Path) -> None:
    """In the order of their names; other files are left alone; single files may stand beside it."""
    folder = tmp_path / "groups"
    folder.mkdir()
    (folder / "b.yaml").write_bytes(_yaml(_group("second")))
    (folder / "a.yml").write_bytes(_yaml(_group("first")))
    (folder / "notes.txt").write_text("not YAML: [")
    (tmp_path / "more.yaml").write_bytes(_yaml(_group("third")))
    groups = read_pool_groups([folder, tmp_path / "more.yaml"])
    assert [group.name for group in groups] == ["first", "second", "third"]


def test_a_name_stands_once_in_all_files(tmp_path: Path) -> None:
    """The error names the second file."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(_yaml(_group("same")))
    with pytest.raises(InvalidDocumentError, match=r"b\.yaml: metadata\.name"):
        read_pool_groups([tmp_path])


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """A missing one, an empty folder, a folder where a file should be."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "folder.yaml").mkdir(parents=True)
    for path in ("missing.yaml", "empty", "odd"):
        with pytest.raises(InvalidDocumentError, match=path):
            read_pool_groups([tmp_path / path])


def test_the_groups_of_a_stack_without_any_are_good() -> None:
    """What is packaged for `botshard up`."""
    packaged = Path(str(files("botshard.local").joinpath("pool_groups.yaml")))
    assert {group.name: group.realtime for group in read_pool_groups([packaged])} == {
        "realtime": True,
        "non-realtime": False,
    }
