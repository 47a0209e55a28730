"""A report as JSON; `schema.json` beside this module says what each field means, and a test holds the two together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any, Final

from loadtests.report.figures import PERCENTILES, causes_of, moments_of
from loadtests.report.promises import Verdict
from loadtests.report.seen import Seen, Slice

__all__ = ["FORMAT", "SCHEMA", "document_of", "read_document", "write_document"]

FORMAT: Final = "botshard.load/v1"
SCHEMA: Final = Path(__file__).with_name("schema.json")
_FIGURES_SIGNIFICANT = 5


def document_of(
    seen: Seen,
    verdicts: Sequence[Verdict],
    *,
    name: str,
    what: str,
    load: Mapping[str, Any],
    where: Mapping[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    """The report of a run.

    Args:
        seen: what was asked, and what became of it.
        verdicts: what became of the scenario's promises.
        name: of the scenario.
        what: the scenario is, in a sentence.
        load: what it was made with.
        where: machine and commit.
        notes: what happened besides, for people.
    """
    cold, rollout = seen.cold(), seen.rollout()
    served = seen.served()
    document = {
        "format": FORMAT,
        "scenario": name,
        "what": what,
        "where": dict(where),
        "load": dict(load),
        "isWhole": seen.results.is_whole,
        "seconds": seen.results.until_s,
        "generator": {
            "cpuCores": seen.results.cpu_s / seen.results.until_s if seen.results.until_s else None,
            "lateP99Ms": seen.late_ms(),
        },
        "phases": [asdict(span) for span in seen.timetable.spans],
        "slices": [_slice(seen, chosen) for chosen in seen.slices()],
        "causes": [{"cause": cause, "count": count} for cause, count in causes_of(seen.exchanges())],
        "cold": {
            "known": cold.known,
            "cold": cold.cold,
            "share": cold.share,
            "p50Ms": cold.p50_ms,
            "p99Ms": cold.p99_ms,
        },
        "fairness": {
            "index": seen.fairness(),
            "tenants": len(served),
            "worst": min(served.values(), default=float("nan")),
        },
        "rollout": None
        if rollout is None
        else {
            "bots": rollout.bots,
            "answered": rollout.answered,
            "p50S": rollout.p50_s,
            "longestS": rollout.longest_s,
        },
        "overTime": [
            {
                "atS": one.at_s,
                "due": one.due,
                "answered": one.answered,
                "failed": one.failed,
                "p50Ms": one.p50_ms,
                "p99Ms": one.p99_ms,
            }
            for one in moments_of(seen.results.exchanges)
        ],
        "promises": [asdict(verdict) for verdict in verdicts],
        "notes": list(notes),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Into a file."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_document(path: Path) -> dict[str, Any]:
    """Of a file. Raises: ValueError where it is no report."""
    document = json.loads(path.read_text("utf-8"))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path} is no report of a load: its `format` is not {FORMAT}")
    return document


def _slice(seen: Seen, chosen: Slice) -> dict[str, Any]:
    figures = seen.figures(chosen)
    latencies = {f"p{share * 100:g}": latency for share, latency in zip(PERCENTILES, figures.latencies_ms, strict=True)}
    return {
        "name": str(chosen),
        "requests": figures.requests,
        "failed": figures.failed,
        "answeredPerS": figures.answered_per_s,
        "latencyMs": {**latencies, "longest": figures.longest_ms},
    }


def _plain(value: Any) -> Any:
    """Numbers as short as they are good for; what is not a number is null."""
    if isinstance(value, float):
        return None if isnan(value) else float(f"{value:.{_FIGURES_SIGNIFICANT}g}")
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
