"""The scenarios: what is asked of which bots, what happens meanwhile, and what is asserted. One table.

Latencies are promised for two cores that serve, ask and report at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from loadtests.report.promises import (
    Promise,
    cold_at_most,
    failed_at_most,
    fair_at_least,
    new_versions_at_least,
    old_versions_at_most,
    p99_at_most,
    p99_ratio_at_most,
)
from loadtests.report.seen import SEEN_WITHIN_S, Slice
from loadtests.traffic.curves import Constant, Diurnal, Ramp
from loadtests.traffic.mixes import GreedyTenant, HotBot
from loadtests.traffic.timetable import Phase

__all__ = ["PUBLISH", "ROLL", "SCENARIOS", "Scenario"]

PUBLISH, ROLL = "publish", "roll"
"""What may happen in a phase: new versions of some bots are published; all that runs is replaced."""

_CALM = "calm"
_TURNS = 4
"""What is compared within a run takes turns, so that what the machine does besides is in both."""
_WARM_UP = Phase("warm-up", 4.0, Ramp(2.0, 0.2), is_counted=False)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them."""

    name: str
    what: str
    """A sentence."""
    phases: Callable[[float], tuple[Phase, ...]]
    """By the seconds that they may take together."""
    promises: tuple[Promise, ...]
    seconds: float = 50.0
    bots: int = 2_000
    tenants: int = 20
    realtime_share: float = 0.5
    popularity: str = "zipf"
    rate_per_s: float = 80.0
    """Where nothing is unusual."""
    meanwhile: tuple[tuple[str, str], ...] = ()
    """What happens in which phase."""
    is_asleep: bool = False
    """Whether it begins with every pool at zero; its bots are then all of a group that goes there."""
    has_warm_up: bool = True

    def all_phases(self, seconds: float) -> tuple[Phase, ...]:
        """With the warm-up, which does not count."""
        return (_WARM_UP, *self.phases(seconds)) if self.has_warm_up else self.phases(seconds)


def _in_turns(seconds: float, unusual: Phase) -> tuple[Phase, ...]:
    """Calm, unusual, calm, unusual and so on."""
    turn_s = seconds / (2 * _TURNS)
    return (Phase(_CALM, turn_s), replace(unusual, seconds=turn_s)) * _TURNS


_REALTIME = Slice(group="realtime")

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "steady",
            "A usual hour: bots as popular as applications of Azure Functions, half of them realtime.",
            lambda seconds: (Phase("steady", seconds),),
            (failed_at_most(0), p99_at_most(50, _REALTIME), cold_at_most(10), fair_at_least(0.99)),
            popularity="azure",
        ),
        Scenario(
            "spike",
            "Ten times the requests from one second to the next, and back.",
            lambda seconds: (
                Phase(_CALM, 0.4 * seconds),
                Phase("spike", 0.3 * seconds, Constant(10.0)),
                Phase("after", 0.3 * seconds),
            ),
            (
                failed_at_most(0),
                p99_at_most(200, Slice("spike", "realtime")),
                p99_at_most(50, Slice("after", "realtime")),
            ),
            seconds=40.0,
            rate_per_s=100.0,
        ),
        Scenario(
            "cold-morning",
            "Everything is at zero, and a morning begins: from the night's few requests to the day's many.",
            # From the middle of the night to noon.
            lambda seconds: (Phase("morning", seconds, Diurnal(2 * seconds, base_share=0.05)),),
            (failed_at_most(0), p99_at_most(2_000), cold_at_most(25), fair_at_least(0.95)),
            popularity="azure",
            realtime_share=0.0,
            is_asleep=True,
            has_warm_up=False,
        ),
        Scenario(
            "rolling-update",
            "New versions of a quarter of the bots are published, then all that runs is replaced.",
            lambda seconds: (
                Phase(_CALM, 0.25 * seconds),
                Phase("publishing", 0.35 * seconds),
                Phase("rolling", 0.4 * seconds),
            ),
            (
                failed_at_most(0),
                p99_at_most(300, Slice("publishing", "realtime")),
                p99_at_most(1_000, Slice("rolling", "realtime")),
                new_versions_at_least(100),
                old_versions_at_most(SEEN_WITHIN_S),
            ),
            seconds=50.0,
            rate_per_s=60.0,
            meanwhile=(("publishing", PUBLISH), ("rolling", ROLL)),
        ),
        Scenario(
            "hot-bot",
            "A bot that hardly anybody knew is asked as often as all the others together.",
            lambda seconds: _in_turns(seconds, Phase("hot", 0, mix=HotBot(0.5))),
            (
                failed_at_most(0),
                p99_ratio_at_most(1.5, Slice("hot", "realtime", others=True), Slice(_CALM, "realtime", others=True)),
                fair_at_least(0.99, Slice("hot")),
            ),
            realtime_share=1.0,
            seconds=48.0,
            rate_per_s=120.0,
        ),
        Scenario(
            "many-tenants",
            "Fifty tenants, one of which asks ten times what it usually asks.",
            lambda seconds: _in_turns(seconds, Phase("greedy", 0, mix=GreedyTenant(10.0))),
            (
                failed_at_most(0, Slice(others=True)),
                p99_ratio_at_most(1.5, Slice("greedy", "realtime", others=True), Slice(_CALM, "realtime", others=True)),
                fair_at_least(0.98, Slice("greedy", others=True)),
            ),
            tenants=50,
            realtime_share=1.0,
            seconds=48.0,
            rate_per_s=120.0,
        ),
    )
}
