"""Reports: as JSON by its schema, as a page that needs nothing else, as tables."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator

from loadtests.baselines.measure import Measured
from loadtests.baselines.table import baseline_table, table_document
from loadtests.errors import LoadTestError
from loadtests.report.document import SCHEMA, read_document, write_document
from loadtests.report.inserting import insert
from loadtests.report.page import html_page
from loadtests.report.tables import summary_table, text_report
from loadtests.scenarios import SCENARIOS, Scenario
from tests.loadtests.runs import document, imagined

_SCHEMA = Draft202012Validator(json.loads(SCHEMA.read_text()))
_EACH = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


@_EACH
def test_a_report_is_as_its_schema_says(scenario: Scenario, tmp_path: Path) -> None:
    """Of a whole run and of one that was ended early; it comes back from its file."""
    for is_whole in (True, False):
        made = document(scenario, imagined(scenario, is_whole=is_whole))
        _SCHEMA.validate(made)
        write_document(tmp_path / "report.json", made)
        assert read_document(tmp_path / "report.json") == made


class _Tags(HTMLParser):
    """Counts what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@_EACH
def test_a_page_needs_nothing_else(scenario: Scenario) -> None:
    """No script, no link, no address; every tag is closed, and charts are whole."""
    page = html_page(document(scenario, imagined(scenario, become=lambda one: one._replace(cause="<b>503</b>"))))
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert not tags.seen & {"script", "link", "img", "iframe", "b"}
    assert not tags.attributes & {"src", "href"}
    assert re.findall(r"https?://[^\s\"<]+", page) == ["http://www.w3.org/2000/svg"] * page.count("<svg")
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        assert ET.fromstring(chart) is not None


def test_a_page_of_nothing_is_a_page() -> None:
    """A run that was ended before its first answer."""
    scenario = SCENARIOS["steady"]
    seen = imagined(scenario)
    nothing = type(seen)(seen.timetable, type(seen.results)([], 1.0, 0.0, False, 0.0), seen.tenants, seen.groups)
    made = document(scenario, nothing)
    _SCHEMA.validate(made)
    assert "nothing was seen" in html_page(made)
    assert "ended early" in text_report(made)


def test_a_summary_has_a_line_a_run_and_says_what_was_missed() -> None:
    """As Markdown."""
    fine = document(SCENARIOS["steady"], imagined(SCENARIOS["steady"]))
    bad = document(SCENARIOS["spike"], imagined(SCENARIOS["spike"], become=lambda one: one._replace(took_s=3.0)))
    table = summary_table([fine, bad])
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| steady | ")
    assert "4 of 4 kept" in lines[2]
    assert "- **spike**: p99, spike, realtime, ms is 3,000, ≤ 200 promised" in table


def test_no_report_is_taken_for_one(tmp_path: Path) -> None:
    """Its format says what it is."""
    path = tmp_path / "other.json"
    path.write_text('{"format": "else"}')
    with pytest.raises(ValueError, match="no report"):
        read_document(path)


def test_a_table_is_written_into_a_page(tmp_path: Path) -> None:
    """Between its comments, as often as wanted; a page without them is refused."""
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- load summary: begin; by hand -->\nold\n<!-- load summary: end -->\nb\n")
    for text in ("one", "| two |\n"):
        insert(page, "load summary", text)
    wanted = "a\n<!-- load summary: begin; by hand -->\n\n| two |\n\n<!-- load summary: end -->\nb\n"
    assert page.read_text() == wanted
    with pytest.raises(LoadTestError, match="has no `<!-- other: begin -->`"):
        insert(page, "other", "x")


def _measured(name: str, bots: int, **more: float) -> Measured:
    given = {
        "processes": bots,
        "pss_bytes": 300 * bots << 20,
        "start_s": 5.0,
        "requests": 1000,
        "failed": 100,
        "failed_bots": 1,
        "hurt_bots": 1,
        "asked_bots": bots,
        "hurt_for_s": 2.0,
        "longest_s": 0.5,
        "roll_one_s": 2.5,
        "roll_all_s": 5.0,
    }
    return Measured(name, bots, **{**given, **more})  # type: ignore[arg-type]


def test_what_was_not_measured_with_all_bots_is_marked() -> None:
    """Figures of a few processes are reckoned for all, and nobody is left to guess which."""
    few, all_of_them = _measured("each", 4), _measured("one", 200, processes=1, failed_bots=90, asked_bots=90)
    table = baseline_table([few, all_of_them])
    assert "| memory of all | ≈ 58.6 GiB | 58.6 GiB |" in table
    assert "| bots that fail while one process dies | 1 of 4 that ran, so 0.5 % | 100 % |" in table
    assert "| roll-out of one bot | 2.5 s | 2.5 s |" in table
    assert "≈: reckoned for 200 processes from 4" in table
    assert [one["bots"] for one in table_document([few, all_of_them])["designs"]] == [4, 200]
