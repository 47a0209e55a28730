"""What was measured of the designs, as the table that the claim stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks.report import where
from loadtests.baselines.bots import WEIGHTS_MIB
from loadtests.baselines.measure import HARM_S, LATE_S, Measured
from loadtests.report.page import shown

__all__ = ["baseline_table", "table_document"]

_MEBIBYTE = 1 << 20


def baseline_table(measured: Sequence[Measured], /) -> str:
    """Markdown. What was not measured with all bots is reckoned from those that were, and marked so."""
    bots = max(one.bots for one in measured)
    lines = [
        "| " + " | ".join(["", *(one.name for one in measured)]) + " |",
        "| " + " | ".join(["---", *["---:"] * len(measured)]) + " |",
    ]
    lines += ["| " + " | ".join([what, *(cell(one, bots) for one in measured)]) + " |" for what, cell in _ROWS.items()]
    few = [one for one in measured if one.bots < bots]
    lines += ["", f"{bots} bots, networks of {WEIGHTS_MIB:.2f} MiB each. One process is killed whenever it serves, "]
    lines[-1] += f"for {HARM_S:g} s, as a bot does whose requests end it."
    if few:
        lines[-1] += (
            f" ≈: reckoned for {bots} processes from {few[0].bots} that ran at once on this machine; "
            "memory is what they took, times grow with their number."
        )
    return "\n".join(lines) + "\n"


def table_document(measured: Sequence[Measured], /) -> dict[str, Any]:
    """The same as JSON: what was measured, nothing reckoned."""
    return {"format": "botshard.baselines/v1", "where": where(), "designs": [asdict(one) for one in measured]}


def _reckoned(value: float, one: Measured, bots: int, unit: str, *, of: int = 0) -> str:
    """Of all bots, where only some (`of`) were measured: each takes as much again."""
    text = f"{shown(value * bots / (of or one.bots) if one.bots < bots else value)} {unit}"
    return f"≈ {text}" if one.bots < bots else text


def _blast(hurt: int, one: Measured, bots: int) -> str:
    """Of the bots that were asked meanwhile."""
    if not hurt:
        return "none"
    if one.bots < bots:
        return f"{hurt} of {one.bots} that ran, so {shown(100 * hurt / bots)} %"
    return f"{shown(100 * hurt / one.asked_bots)} %"


_ROWS: Final[Mapping[str, Callable[[Measured, int], str]]] = {
    "processes that serve": lambda one, bots: f"{bots if one.bots < bots else one.processes}",
    "memory a bot": lambda one, _: f"{shown(one.pss_bytes / one.bots / _MEBIBYTE)} MiB",
    "memory of all": lambda one, bots: _reckoned(one.pss_bytes / (1 << 30), one, bots, "GiB"),
    "start-up, until every bot answers": lambda one, bots: _reckoned(one.start_s, one, bots, "s"),
    "bots that fail while one process dies": lambda one, bots: _blast(one.failed_bots, one, bots),
    f"that fail, or wait over {LATE_S:g} s": lambda one, bots: _blast(one.hurt_bots, one, bots),
    "for how long": lambda one, _: f"{shown(one.hurt_for_s)} s" if one.hurt_bots else "-",
    "longest request then": lambda one, _: f"{shown(one.longest_s)} s",
    "roll-out of one bot": lambda one, _: f"{shown(one.roll_one_s)} s",
    "roll-out of all the others": lambda one, bots: _reckoned(one.roll_all_s, one, bots, "s", of=one.bots - 1),
}
