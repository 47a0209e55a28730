"""A run as it was seen: its exchanges, and who is who among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtests.asking.exchanges import Exchange, Results
from loadtests.report.figures import Cold, Figures, cold_of, figures_of, jain, percentile, tenants_served
from loadtests.traffic.timetable import Timetable

__all__ = ["ALL", "SEEN_WITHIN_S", "Rollout", "Seen", "Slice"]


SEEN_WITHIN_S = 2.0
"""After which everybody answers by a version that was published."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the exchanges; None: whatever it is."""

    phase: str | None = None
    group: str | None = None
    protocol: str | None = None
    others: bool | None = None
    """True: bots of everybody but the one bot, or tenant, that asks unusually much; False: of that one."""

    def __str__(self) -> str:
        who = {None: None, True: "the others", False: "the greedy"}[self.others]
        return ", ".join(part for part in (self.phase, self.group, self.protocol, who) if part) or "all"


ALL = Slice()


@dataclass(frozen=True, slots=True)
class Rollout:
    """How new versions reached those who ask."""

    bots: int
    """That were asked once everybody should know."""
    answered: int
    """Of them, how many were answered by the new version at the end."""
    p50_s: float
    longest_s: float
    """From the moment of publishing to the last answer of the old version."""


@dataclass(frozen=True)
class Seen:
    """All that the figures are made of."""

    timetable: Timetable
    results: Results
    tenants: Sequence[str]
    """By bot."""
    groups: Sequence[str]
    """By bot."""
    greedy: frozenset[int] = frozenset()
    """Bots of whoever asks unusually much in some phase."""
    published_s: Mapping[int, float] = field(default_factory=dict)
    """When a new version of a bot was published, from the timetable's beginning."""
    promised_s: float = 1.0
    """Within which an answer is in time."""

    def exchanges(self, chosen: Slice = ALL) -> Iterator[Exchange]:
        """Those of a slice; without a phase, those of all phases that count."""
        phases = {
            index
            for index, span in enumerate(self.timetable.spans)
            if (span.is_counted if chosen.phase is None else span.name == chosen.phase)
        }
        return (
            one
            for one in self.results.exchanges
            if one.phase in phases
            and chosen.protocol in (None, one.protocol)
            and chosen.group in (None, self.groups[one.bot])
            and (chosen.others is None or chosen.others != (one.bot in self.greedy))
        )

    def figures(self, chosen: Slice = ALL) -> Figures:
        """Of a slice."""
        return figures_of(self.exchanges(chosen), seconds=self._seconds(chosen))

    def cold(self, chosen: Slice = ALL) -> Cold:
        """Of a slice."""
        return cold_of(self.exchanges(chosen))

    def fairness(self, chosen: Slice = ALL) -> float:
        """Jain's index over what tenants got: the share of their requests that was answered rightly and in time."""
        return jain(self.served(chosen).values())

    def served(self, chosen: Slice = ALL) -> dict[str, float]:
        """That share, by tenant."""
        return tenants_served(self.exchanges(chosen), self.tenants, within_s=self.promised_s)

    def late_ms(self) -> float:
        """How late 99 of 100 requests were sent at most."""
        return percentile(sorted(one.late_s * 1e3 for one in self.exchanges()), 0.99)

    def slices(self) -> list[Slice]:
        """Those that are worth a line."""
        phases = list(dict.fromkeys(span.name for span in self.timetable.spans if span.is_counted))
        groups = sorted(set(self.groups))
        protocols = sorted({arrival.protocol for arrival in self.timetable.arrivals})
        found = [ALL]
        found += [Slice(group=group) for group in groups if len(groups) > 1]
        found += [Slice(protocol=protocol) for protocol in protocols if len(protocols) > 1]
        if len(phases) > 1:
            for phase in phases:
                found.append(Slice(phase))
                found += [Slice(phase, group) for group in groups if len(groups) > 1]
        if self.greedy:
            found += [Slice(phase, others=others) for phase in phases for others in (True, False)]
        return found

    def rollout(self) -> Rollout | None:
        """How new versions reached those who ask; None where there were none."""
        if not self.published_s:
            return None
        waits = dict.fromkeys(self.published_s, 0.0)
        newest: dict[int, int] = {}
        for one in self.results.exchanges:
            published_s = self.published_s.get(one.bot)
            if published_s is None or one.version < 1:
                continue
            answered_s = one.at_s + one.took_s - published_s
            if one.version == 1 and answered_s > 0:
                waits[one.bot] = max(waits[one.bot], answered_s)
            if one.at_s - published_s > SEEN_WITHIN_S:
                newest[one.bot] = one.version
        answered = sum(1 for version in newest.values() if version > 1)
        return Rollout(len(newest), answered, median(waits.values()), max(waits.values()))

    def _seconds(self, chosen: Slice) -> float:
        spans = [
            span
            for span in self.timetable.spans
            if (span.is_counted if chosen.phase is None else span.name == chosen.phase)
        ]
        return sum(max(0.0, min(span.until_s, self.results.until_s) - span.from_s) for span in spans)
