"""What a scenario asserts: a figure and a bound, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan

from loadtests.report.seen import ALL, Seen, Slice

__all__ = [
    "Promise",
    "Verdict",
    "cold_at_most",
    "failed_at_most",
    "fair_at_least",
    "new_versions_at_least",
    "old_versions_at_most",
    "p99_at_most",
    "p99_ratio_at_most",
    "verdicts_of",
]


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure that must stay on one side of a bound."""

    what: str
    figure: Callable[[Seen], float]
    bound: float
    is_most: bool = True
    """False: the bound is the least."""

    def bound_text(self) -> str:
        """As a person writes it."""
        return f"{'≤' if self.is_most else '≥'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a promise."""

    what: str
    value: float
    bound: str
    ok: bool | None
    """None: nothing was seen that would tell."""


def verdicts_of(seen: Seen, promises: tuple[Promise, ...]) -> list[Verdict]:
    """Each promise held against what was seen."""
    return [_verdict(promise, promise.figure(seen)) for promise in promises]


def _verdict(promise: Promise, value: float) -> Verdict:
    ok = None if isnan(value) else value <= promise.bound if promise.is_most else value >= promise.bound
    return Verdict(promise.what, value, promise.bound_text(), ok)


def failed_at_most(percent: float, chosen: Slice = ALL) -> Promise:
    """Requests that were not answered, or wrongly."""
    return Promise(f"failed, {chosen}, %", lambda seen: seen.figures(chosen).failed_share * 100, percent)


def p99_at_most(latency_ms: float, chosen: Slice = ALL) -> Promise:
    """Latency that 99 of 100 requests stay under."""
    return Promise(f"p99, {chosen}, ms", lambda seen: seen.figures(chosen).latency_ms(0.99), latency_ms)


def p99_ratio_at_most(times: float, chosen: Slice, than: Slice) -> Promise:
    """The same against that of other requests of the run."""
    return Promise(
        f"p99, {chosen}, by that of {than}",
        lambda seen: seen.figures(chosen).latency_ms(0.99) / seen.figures(than).latency_ms(0.99),
        times,
    )


def cold_at_most(percent: float, chosen: Slice = ALL) -> Promise:
    """Requests that waited for a bot to be loaded, or for a pool to wake."""
    return Promise(f"cold, {chosen}, %", lambda seen: seen.cold(chosen).share * 100, percent)


def fair_at_least(index: float, chosen: Slice = ALL) -> Promise:
    """Jain's index over tenants."""
    return Promise(f"fairness, {chosen}", lambda seen: seen.fairness(chosen), index, is_most=False)


def new_versions_at_least(percent: float) -> Promise:
    """Of the bots that got a new version and were asked once everybody should know, those that answer by it."""

    def share(seen: Seen) -> float:
        rollout = seen.rollout()
        return rollout.answered / rollout.bots * 100 if rollout is not None and rollout.bots else nan

    return Promise("new versions that answer at the end, %", share, percent, is_most=False)


def old_versions_at_most(seconds: float) -> Promise:
    """How long after a new version was published the old one answered last."""

    def longest_s(seen: Seen) -> float:
        rollout = seen.rollout()
        return nan if rollout is None else rollout.longest_s

    return Promise("last answer of an old version after publishing, s", longest_s, seconds)
