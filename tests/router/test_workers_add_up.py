"""What several workers have counted, as one; and the file of settings that a reload reads again."""

from __future__ import annotations

from pathlib import Path

import pytest

from botshard.sharding.errors import InvalidDocumentError
from router.workers.crew import as_text
from router.workers.env_file import parse_env_file, read_env_file
from router.workers.seats import restart_delay_s
from router.workers.sums import Counted, Family, Sample, Totals, added_up


def _family(name: str, kind: str, *samples: Sample) -> Family:
    return Family(name=name, text="What it is", type=kind, samples=samples)


def _requests(pool: str, count: float) -> Family:
    return _family("requests", "counter", ("requests_total", {"pool": pool}, count))


def _values(families: list[Family]) -> dict[tuple[str, str], float]:
    return {(name, "".join(labels.values())): value for family in families for name, labels, value in family["samples"]}


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("requests_total", "counter", 7.0),
        ("seconds_bucket", "histogram", 7.0),
        ("botshard_router_held_body_bytes", "gauge", 7.0),
        ("botshard_router_outstanding", "gauge", 7.0),
        ("botshard_router_bots", "gauge", 5.0),
        ("botshard_router_table_epoch", "gauge", 2.0),
        ("botshard_router_ready", "gauge", 2.0),
        ("process_start_time_seconds", "gauge", 2.0),
        ("requests_created", "counter", 2.0),
    ],
)
def test_each_kind_is_added_up_by_what_it_means(name: str, kind: str, wanted: float) -> None:
    """Counts and loads are sums; what is in force is the oldest; what is the same everywhere is the largest."""
    two, five = (_family(name, kind, (name, {}, value)) for value in (2.0, 5.0))
    found = added_up([Counted([two], is_going=False), Counted([five], is_going=False)])
    assert _values(found) == {(name, ""): wanted}


def test_a_worker_that_drains_counts_but_does_not_say_what_is_in_force() -> None:
    """Its table may be old."""
    families = [_requests("a", 2.0), _family("t", "gauge", ("botshard_router_table_epoch", {}, 1.0))]
    newer = [_requests("a", 3.0), _family("t", "gauge", ("botshard_router_table_epoch", {}, 9.0))]
    found = added_up([Counted(families, is_going=True), Counted(newer, is_going=False)])
    assert _values(found) == {("requests_total", "a"): 5.0, ("botshard_router_table_epoch", ""): 9.0}


def test_series_that_only_one_has_are_there() -> None:
    """Workers have met different outcomes."""
    found = added_up([Counted([_requests("a", 1.0)], is_going=False), Counted([_requests("b", 2.0)], is_going=False)])
    assert _values(found) == {("requests_total", "a"): 1.0, ("requests_total", "b"): 2.0}


def test_what_a_gone_worker_has_counted_stays() -> None:
    """Its counters do, its gauges do not."""
    totals = Totals()
    for count in (2.0, 3.0):
        totals.add([_requests("a", count), _family("held", "gauge", ("held", {}, 4.0))])
    serving = [_requests("a", 1.0)]
    found = added_up([Counted(serving, is_going=False)], totals.families([serving]))
    assert _values(found) == {("requests_total", "a"): 6.0}


@pytest.mark.parametrize("label", ["pool", "bot"])
def test_what_was_counted_for_a_pool_that_is_gone_goes(label: str) -> None:
    """Or series would only ever become more; while nobody tells of any pool, nothing is forgotten."""
    totals = Totals()
    totals.add([_family("n", "counter", *[("n_total", {label: name}, 1.0) for name in "ab"])])
    assert len(_values(totals.families([]))) == 2
    serving = [_family("n", "counter", ("n_total", {label: "b"}, 5.0))]
    assert _values(totals.families([serving])) == {("n_total", "b"): 1.0}


def test_sums_are_prometheus_text() -> None:
    """With the help and the type that each family has."""
    text = as_text(added_up([Counted([_requests("a", 1.0)], is_going=False)])).decode()
    assert text == '# HELP requests_total What it is\n# TYPE requests_total counter\nrequests_total{pool="a"} 1.0\n'


def test_delays_between_starts_grow_and_are_bounded() -> None:
    """The first start after a long life is at once."""
    delays = [restart_delay_s(failures) for failures in range(40)]
    assert delays[0] == 0.0
    assert delays == sorted(delays)
    assert delays[-1] == 5.0


def test_a_file_of_settings_is_read(tmp_path: Path) -> None:
    """Comments and empty lines are none, quotes are taken away, the last line of a name counts."""
    file = tmp_path / "settings"
    file.write_text("# ours\n\nA=1\nB = 'x y' \nC=\"=\"\nA=2\nD=\n")
    assert read_env_file(file) == {"A": "2", "B": "x y", "C": "=", "D": ""}


@pytest.mark.parametrize("text", ["hush", "=hush", "1A=hush", "A B=hush"])
def test_a_line_that_is_no_setting_is_refused_and_not_shown(text: str) -> None:
    """The number of the line is; what stands in it may be a secret."""
    with pytest.raises(InvalidDocumentError) as caught:
        parse_env_file(f"A=1\n{text}\n", "settings")
    assert "line 2" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(InvalidDocumentError, match="nowhere"):
        read_env_file(tmp_path / "nowhere")
