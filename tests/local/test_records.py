"""What a keeper writes down is what the next one reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.local.records import ProcessRecord, Records, read_ports, write_json
from botshard.local.zygotes import ZygoteRecord

_PROCESSES = (
    ProcessRecord("router", 10, 1000, ready=True),
    ProcessRecord("replica", 11, 1001, ready=False, pool="rt-torch-1", name="r1"),
)
_ZYGOTES = (ZygoteRecord("torch", "zygote/torch/1", 12, 1002, ready=True),)


def test_processes_and_zygotes_come_back(tmp_path: Path) -> None:
    """Every field; the file is replaced whole and nothing else is left."""
    path = tmp_path / "processes.json"
    write_json(path, Records(_PROCESSES, ()).document())
    write_json(path, Records(_PROCESSES, _ZYGOTES).document())
    assert Records.read(path) == Records(_PROCESSES, _ZYGOTES)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        '{"processes": []}',
        '{"processes": null, "zygotes": null}',
        '{"processes": [{"kind": "router"}], "zygotes": []}',
        '{"processes": [], "zygotes": [{"colour": "red"}]}',
    ],
)
def test_what_cannot_be_used_counts_as_nothing(tmp_path: Path, text: str | None) -> None:
    """Missing, half, or of another version."""
    path = tmp_path / "processes.json"
    if text is not None:
        path.write_text(text)
    assert Records.read(path) == Records()


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        (None, {}),
        ('{"a": 4711}', {"a": 4711}),
        ("[1]", {}),
        ("{", {}),
        ('{"a": "many"}', {}),
        ('{"a": null}', {}),
    ],
)
def test_ports_are_read_or_there_are_none(tmp_path: Path, text: str | None, ports: dict[str, int]) -> None:
    """They are only a wish, so a damaged file costs nothing."""
    path = tmp_path / "ports.json"
    if text is not None:
        path.write_text(text)
    assert read_ports(path) == ports


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    """Where it cannot be written, what was there stays."""
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    assert read_ports(path) == {"a": 1}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_ports(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
