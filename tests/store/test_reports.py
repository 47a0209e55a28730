"""Replica reports: small, validated whole, followed by the controller."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.errors import CallerError, InvalidDocumentError
from botshard.sharding.ids import BotId, Epoch, PoolName, VersionNumber
from botshard.sharding.residency import Residency
from botshard.store.base import ObjectStore
from botshard.store.layout import report_key
from botshard.store.reports import (
    MAX_ERROR_CHARS,
    BotReport,
    ReplicaReport,
    ReportFollower,
    decode_report,
    delete_report,
    encode_report,
    read_reports,
    write_report,
)

POOL, OTHER_POOL = PoolName("realtime-torch-00000000-aaaaaa"), PoolName("realtime-torch-00000000-bbbbbb")
REPORT = ReplicaReport(
    pool=POOL,
    replica="r1",
    epoch=Epoch(7),
    catalog_revision=12,
    ready=True,
    warmed_epoch=Epoch(6),
    at_s=1_700_000_000.25,
    resident_bytes=3_000_000,
    base_rss_bytes=120_000_000,
    in_flight=2,
    requests_total=12345,
    bots={
        BotId("a"): BotReport(Residency.RESIDENT, VersionNumber(2), 3_000_000, 1.5, 0.012),
        BotId("b"): BotReport(Residency.FAILED, VersionNumber(1), error="labels: 7 names for 6 outputs"),
        BotId("c"): BotReport(Residency.ABSENT),
    },
    left_rates={BotId("d"): 0.5},
)

_COUNTS = st.integers(0, 2**63 - 1)
_NUMBERS = st.floats(min_value=0.0, max_value=1e12)
_IDS = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
_BOTS = st.builds(
    BotReport,
    state=st.sampled_from(Residency),
    version=st.none() | st.integers(1, 2**62).map(VersionNumber),
    footprint_bytes=_COUNTS,
    rate_per_s=_NUMBERS,
    load_s=_NUMBERS,
    error=st.none() | st.text(st.characters(codec="utf-8"), max_size=MAX_ERROR_CHARS),
)
_REPORTS = st.builds(
    ReplicaReport,
    pool=st.from_regex(r"[a-z]([a-z0-9-]{0,51}[a-z0-9])?", fullmatch=True).map(PoolName),
    replica=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
    epoch=_COUNTS.map(Epoch),
    catalog_revision=_COUNTS,
    ready=st.booleans(),
    warmed_epoch=_COUNTS.map(Epoch),
    at_s=_NUMBERS,
    resident_bytes=_COUNTS,
    base_rss_bytes=_COUNTS,
    in_flight=_COUNTS,
    requests_total=_COUNTS,
    bots=st.dictionaries(_IDS.map(BotId), _BOTS, max_size=4),
    reloads_per_s=_NUMBERS,
    device_bytes=st.integers(0, 2**40),
    device_free_bytes=st.none() | st.integers(0, 2**40),
    left_rates=st.dictionaries(_IDS.map(BotId), _NUMBERS, max_size=4),
)


@given(_REPORTS)
def test_a_report_survives_its_codec(report: ReplicaReport) -> None:
    """Decoding what was encoded gives an equal report."""
    assert decode_report(encode_report(report)) == report


@given(data=st.data())
def test_a_damaged_report_is_refused_as_a_document(data: st.DataObject) -> None:
    """Whatever single value of a report is replaced by whatever, it is read as a report or refused with a field."""
    document = json.loads(encode_report(REPORT))
    target = data.draw(st.sampled_from([document, document["bots"], document["bots"]["a"], document["bots"]["b"]]))
    field = data.draw(st.sampled_from(sorted(target)))
    target[field] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
    )

    try:
        decode_report(json.dumps(document).encode())
    except InvalidDocumentError as error:
        assert field in str(error)  # noqa: PT017 - both ends are allowed


@given(cut=st.integers(0, len(encode_report(REPORT)) - 1))
def test_a_truncated_report_is_refused(cut: int) -> None:
    """No prefix of a report is a report."""
    with pytest.raises(InvalidDocumentError):
        decode_report(encode_report(REPORT)[:cut])


def test_errors_of_bots_are_cut(store: ObjectStore) -> None:
    """A traceback of any length and content leaves a small report that can be read."""
    bots = {BotId(f"b{index}"): BotReport(Residency.FAILED, error="\udc80é\n" * 10_000) for index in range(100)}

    data = encode_report(replace(REPORT, bots=bots))

    assert len(data) < 100 * (MAX_ERROR_CHARS * 2 + 60)
    error = decode_report(data).bots[BotId("b7")].error
    assert error is not None
    assert len(error) == MAX_ERROR_CHARS
    assert error.startswith("?é\n")
    assert error.endswith("…")


def test_a_number_that_is_none_is_the_callers_fault() -> None:
    """NaN never reaches the store."""
    with pytest.raises(CallerError, match="r1"):
        encode_report(replace(REPORT, at_s=float("nan")))


def test_every_problem_of_a_report_is_named() -> None:
    """Field by field, bots too."""
    document = json.loads(encode_report(REPORT))
    document |= {"epoch": -1, "ready": "yes", "replica": "/", "extra": 1}
    document["bots"]["a"]["state"] = "asleep"
    document["bots"]["b"]["error"] = "x" * 301
    document["bots"]["a b"] = {"state": "absent"}

    with pytest.raises(InvalidDocumentError) as caught:
        decode_report(json.dumps(document).encode())

    assert {problem.field for problem in caught.value.problems} == {
        "epoch", "ready", "replica", "extra", "bots.a.state", "bots.b.error", "bots.a b",
    }  # fmt: skip


def test_reports_are_followed(store: ObjectStore) -> None:
    """New, changed and deleted reports are seen; a damaged one is refused and its last good one stays."""
    follower = ReportFollower(store)
    assert follower.refresh() == {}
    second, other = replace(REPORT, replica="r2"), replace(REPORT, pool=OTHER_POOL)
    for report in (REPORT, second, other):
        write_report(store, report)
    assert follower.refresh() == {(POOL, "r1"): REPORT, (POOL, "r2"): second, (OTHER_POOL, "r1"): other}

    write_report(store, replace(REPORT, in_flight=9))
    delete_report(store, POOL, replica="r2")
    delete_report(store, POOL, replica="r2")
    store.put(report_key(OTHER_POOL, "r1"), encode_report(REPORT))

    assert follower.refresh() == {(POOL, "r1"): replace(REPORT, in_flight=9), (OTHER_POOL, "r1"): other}
    assert "the pool and replica of its key" in follower.problems[report_key(OTHER_POOL, "r1")]
    delete_report(store, OTHER_POOL, replica="r1")
    assert follower.refresh().keys() == {(POOL, "r1")}
    assert follower.problems == {}


def test_reports_are_read_once(store: ObjectStore) -> None:
    """All, or those of one pool, sorted; refused ones with their reasons."""
    for report in (replace(REPORT, pool=OTHER_POOL), replace(REPORT, replica="r2"), REPORT):
        write_report(store, report)
    store.put(report_key(POOL, "r3"), b"{}")

    reports, problems = read_reports(store)
    of_one, none = read_reports(store, OTHER_POOL)

    assert [(report.pool, report.replica) for report in reports] == [(POOL, "r1"), (POOL, "r2"), (OTHER_POOL, "r1")]
    assert list(problems) == [report_key(POOL, "r3")]
    assert [report.pool for report in of_one] == [OTHER_POOL]
    assert none == {}
