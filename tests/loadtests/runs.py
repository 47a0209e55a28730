"""Runs that never were: exchanges made up for tests of figures and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadtests.asking.exchanges import Exchange, Results
from loadtests.fleet import make_fleet
from loadtests.report.document import document_of
from loadtests.report.promises import verdicts_of
from loadtests.report.seen import Seen
from loadtests.run import greedy_bots
from loadtests.scenarios import PUBLISH, Scenario
from loadtests.traffic.popularity import POPULARITIES
from loadtests.traffic.timetable import make_timetable

__all__ = ["document", "exchange", "imagined"]


def exchange(at_s: float, **more: Any) -> Exchange:
    """One that was answered within 2 ms."""
    given = {
        "late_s": 0.0,
        "took_s": 0.002,
        "bot": 0,
        "phase": 0,
        "protocol": "rest",
        "cause": "",
        "cold": 0,
        "version": 1,
    }
    return Exchange(at_s, **{**given, **more})


def imagined(
    scenario: Scenario,
    *,
    bots: int = 60,
    become: Callable[[Exchange], Exchange] = lambda one: one,
    is_whole: bool = True,
) -> Seen:
    """A run of a scenario in which every request was answered at once, but for what `become` makes of it."""
    fleet = make_fleet(bots, tenants=min(6, scenario.tenants), realtime_share=scenario.realtime_share, seed=1)
    shares = POPULARITIES[scenario.popularity](bots)
    timetable = make_timetable(
        scenario.all_phases(scenario.seconds), shares, fleet.tenants, base_per_s=scenario.rate_per_s, seed=1
    )
    publishing = [span for span in timetable.spans if (span.name, PUBLISH) in scenario.meanwhile]
    published_s = {bot: span.from_s for span in publishing for bot in range(0, bots, 4)}
    exchanges = [
        become(
            exchange(
                one.at_s,
                bot=one.bot,
                phase=one.phase,
                version=2 if one.at_s > published_s.get(one.bot, 1e9) + 0.5 else 1,
            )
        )
        for one in timetable.arrivals
    ]
    until_s = timetable.seconds if is_whole else timetable.seconds / 4
    seen = [one for one in exchanges if one.at_s < until_s]
    return Seen(
        timetable,
        Results(seen, 1.0, until_s, is_whole, until_s / 10),
        fleet.tenants,
        fleet.groups,
        greedy=greedy_bots(scenario, fleet, shares, 1),
        published_s=published_s,
    )


def document(scenario: Scenario, seen: Seen) -> dict[str, Any]:
    """Its report."""
    load = {
        "seed": 1,
        "bots": len(seen.tenants),
        "tenants": len(set(seen.tenants)),
        "realtimeShare": scenario.realtime_share,
        "popularity": scenario.popularity,
        "ratePerS": scenario.rate_per_s,
        "grpcShare": 0.0,
        "users": 10,
        "target": "nothing",
    }
    where = {"commit": "abc", "python": "3.11", "system": "Linux", "cpus": 2}
    return document_of(
        seen,
        verdicts_of(seen, scenario.promises),
        name=scenario.name,
        what=scenario.what,
        load=load,
        where=where,
        notes=["something happened"],
    )
