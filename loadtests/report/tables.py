"""Reports as tables of text: one run in a terminal, many of them as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.report.page import shown

__all__ = ["summary_table", "text_report"]

_HEAD = ("scenario", "requests", "answered / s", "failed", "p50", "p95", "p99", "p99.9", "cold", "fairness", "promises")


def summary_table(documents: Sequence[Mapping[str, Any]], /) -> str:
    """A line a run, and a line a promise that was not kept."""
    lines = [_line(_HEAD), _line(["---", *["---:"] * (len(_HEAD) - 2), "---"])]
    lines += [_line(_cells(document)) for document in documents]
    lines += ["", "Latencies in milliseconds, from when a request was due.", ""]
    for document in documents:
        for one in document["promises"]:
            if one["ok"] is False:
                lines.append(
                    f"- **{document['scenario']}**: {one['what']} is {shown(one['value'])}, {one['bound']} promised"
                )
    for document in documents:
        lines += [f"- {document['scenario']}: {note}" for note in document["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def text_report(document: Mapping[str, Any], /) -> str:
    """One run, for a terminal."""
    width = max(len(one["name"]) for one in document["slices"])
    names = ("p50", "p90", "p95", "p99", "p99.9", "longest")
    head = f"{'':<{width}}  {'requests':>9} {'failed':>7} {'per s':>7}  " + " ".join(f"{name:>8}" for name in names)
    lines = [document["what"], "", f"{head}  ms"]
    for one in document["slices"]:
        latencies = " ".join(f"{shown(one['latencyMs'][name]):>8}" for name in names)
        counts = f"{shown(one['requests']):>9} {shown(one['failed']):>7} {shown(one['answeredPerS']):>7}"
        lines.append(f"{one['name']:<{width}}  {counts}  {latencies}")
    cold, fairness = document["cold"], document["fairness"]
    lines += ["", f"cold: {shown(cold['cold'])} of {shown(cold['known'])}; fairness: {shown(fairness['index'])}"]
    lines += [f"failed: {one['count']:,} x {one['cause']}" for one in document["causes"]]
    lines += document["notes"]
    if not document["isWhole"]:
        lines.append("ended early: all figures are of what was asked until then")
    lines.append("")
    for one in document["promises"]:
        word = {True: "ok", False: "MISSED", None: "not seen"}[one["ok"]]
        lines.append(f"{one['what']:<58} {shown(one['value']):>8}  {one['bound']:<8} {word}")
    return "\n".join(lines) + "\n"


def _cells(document: Mapping[str, Any]) -> list[str]:
    whole, cold = document["slices"][0], document["cold"]
    kept = [one["ok"] for one in document["promises"]]
    latency = whole["latencyMs"]
    name = document["scenario"] if document["isWhole"] else f"{document['scenario']} (ended early)"
    return [
        name,
        shown(whole["requests"]),
        shown(whole["answeredPerS"]),
        shown(whole["failed"]),
        *(shown(latency[share]) for share in ("p50", "p95", "p99", "p99.9")),
        "-" if cold["share"] is None else f"{cold['share'] * 100:.3g} %",
        shown(document["fairness"]["index"]),
        f"{kept.count(True)} of {len(kept)} kept",
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
