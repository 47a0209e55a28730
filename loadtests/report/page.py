"""A report as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from loadtests.report.svg import Band, Series, line_chart

__all__ = ["html_page", "shown"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.45 sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; width: 100%; }
th, td { padding: 0.2em 0.6em; border-bottom: 1px solid #8884; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; margin: 0.5em 0; }
.ok { color: #059669; } .missed { color: #dc2626; font-weight: bold; }
"""
_NOTHING = "-"
_LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "longest")


def html_page(document: Mapping[str, Any], /) -> str:
    """Of a report's document."""
    name = escape(document["scenario"])
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>Load: {name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name}</h1><p>{escape(document['what'])}</p>",
        ""
        if document["isWhole"]
        else "<p class=missed>It was ended early: all figures are of what was asked until then.</p>",
        f"<p>{escape(_made_with(document))}</p>",
        _promises(document["promises"]),
        "<h2>Over time</h2>",
        *_charts(document),
        "<h2>Latency, ms</h2><p>From when a request was due to the last byte of its answer, failed ones included.</p>",
        _slices(document["slices"]),
        "<h2>What failed</h2>",
        _causes(document["causes"]),
        "<h2>Besides</h2>",
        _besides(document),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def shown(value: object, /) -> str:
    """A figure as a person reads it."""
    if value is None:
        return _NOTHING
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _made_with(document: Mapping[str, Any]) -> str:
    load, where, generator = document["load"], document["where"], document["generator"]
    return (
        f"{load['bots']:,} bots of {load['tenants']} tenants, {load['realtimeShare']:.0%} realtime, popularity "
        f"{load['popularity']}, {load['ratePerS']:g} requests a second where nothing is unusual, "
        f"{load['grpcShare']:.0%} over gRPC, seed {load['seed']}; asked: {load['target']}, for "
        f"{document['seconds']:.0f} s. Commit {where.get('commit')}, Python {where.get('python')}, "
        f"{where.get('cpus')} CPUs, {where.get('system')}. The load generator took "
        f"{shown(generator['cpuCores'])} cores and sent 99 of 100 requests at most "
        f"{shown(generator['lateP99Ms'])} ms late."
    )


def _promises(promises: Sequence[Mapping[str, Any]]) -> str:
    words = {True: '<span class="ok">kept</span>', False: '<span class="missed">missed</span>', None: "not seen"}
    rows = [[escape(one["what"]), shown(one["value"]), escape(one["bound"]), words[one["ok"]]] for one in promises]
    return _table(("promise", "measured", "bound", ""), rows)


def _charts(document: Mapping[str, Any]) -> list[str]:
    moments = document["overTime"]
    bands = [Band(span["name"], span["from_s"], span["until_s"]) for span in document["phases"]]

    def series(name: str, field: str) -> Series:
        return Series(name, [(one["atS"], one[field]) for one in moments])

    throughput = [series("due", "due"), series("answered", "answered"), series("failed", "failed")]
    latency = [series("p50", "p50Ms"), series("p99", "p99Ms")]
    return [
        line_chart("Requests a second", throughput, x_label="seconds, by when they were due", bands=bands),
        line_chart("Latency, ms", latency, x_label="seconds, by when they were due", bands=bands, is_log=True),
    ]


def _slices(slices: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(one["name"]),
            shown(one["requests"]),
            shown(one["failed"]),
            shown(one["answeredPerS"]),
            *(shown(one["latencyMs"][name]) for name in _LATENCIES),
        ]
        for one in slices
    ]
    return _table(("", "requests", "failed", "answered / s", *_LATENCIES), rows)


def _causes(causes: Sequence[Mapping[str, Any]]) -> str:
    if not causes:
        return "<p>Nothing.</p>"
    return _table(("cause", "requests"), [[escape(one["cause"]), shown(one["count"])] for one in causes])


def _besides(document: Mapping[str, Any]) -> str:
    cold, fairness, rollout = document["cold"], document["fairness"], document["rollout"]
    cold_line = (
        f"Cold: {shown(cold['cold'])} of {shown(cold['known'])} requests whose answers tell "
        f"({_percent(cold['share'])}); p50 {shown(cold['p50Ms'])} ms, p99 {shown(cold['p99Ms'])} ms."
    )
    fair_line = (
        f"Fairness: {shown(fairness['index'])} (Jain) over {fairness['tenants']} tenants, of whom the one that had "
        f"least was answered rightly within a second in {_percent(fairness['worst'])} of its requests."
    )
    lines = [cold_line, fair_line]
    if rollout is not None:
        lines.append(
            f"New versions: {rollout['answered']} of {rollout['bots']} bots answer by theirs; the last answer of the "
            f"old one came {shown(rollout['p50S'])} s after publishing (p50; longest {shown(rollout['longestS'])} s)."
        )
    items = "".join(f"<li>{escape(line)}</li>" for line in (*lines, *document["notes"]))
    return f"<ul>{items}</ul>"


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share * 100:.3g} %"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])
