"""Whether a pool is to be left alone for a while, told from what came of requests. Pure: outcomes and times in.

A pool is *ejected* after so many failures in a row, where it fails clearly more than the others of its family, or where
it does not answer probes. Failures are those of the way to a replica: no connection, a connection that ends before an
answer, a gateway without a replica. What a replica of ours says, be it an error, is an answer.

An ejection ends by itself, after a time that doubles with each one that follows soon, up to a bound. It ends earlier if
the pool shows that it is there. A pool that comes back, as one that is new, is in *slow start*: its share of requests
grows. The first failure in there ejects it again; a request that fails is tried at another pool, so that costs one try.

`Health` is one pool's. How much of all this a shard heeds, `select.usable` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from router.answers import Verdict

__all__ = ["Health", "HealthRules", "Tally", "Why", "outcome_of", "outliers"]

_K = TypeVar("_K")
_FIRST_GATEWAY_STATUS: Final = 502
_LAST_GATEWAY_STATUS: Final = 504


class Why(StrEnum):
    """Why a pool is ejected; also the label of the metric."""

    FAILURES = "failures"
    """So many requests in a row found no replica."""
    OUTLIER = "outlier"
    """A larger share of requests than at the other pools of the family found no replica."""
    PROBES = "probes"
    """So many probes in a row were not answered."""


@dataclass(frozen=True, slots=True)
class HealthRules:
    """When pools are ejected and how they come back."""

    failures: int = 5
    """In a row; 0: nothing is ever ejected."""
    probe_failures: int = 3
    """In a row."""
    outlier_margin: float = 0.2
    """By so much the share of requests that fail must be over the others'."""
    outlier_requests: int = 20
    """With fewer in one window nothing is compared."""
    window_s: float = 10.0
    base_s: float = 5.0
    """The first ejection lasts so long; each that follows soon twice as long as the last."""
    longest_s: float = 60.0
    """No ejection lasts longer. After so long without one the next is a first one again."""
    slow_start_s: float = 10.0
    """How long the share of a pool that is new or back grows; 0: it has all of it at once."""
    first_share: float = 0.1
    """Of the requests that it would have, at the beginning."""


class Health:
    """One pool's health. Times are of one clock, which the caller reads."""

    __slots__ = (
        "_returned_s",
        "_row",
        "_rules",
        "_slow_since_s",
        "answered",
        "can_eject",
        "ejected_until_s",
        "failed",
        "failures_in_row",
        "is_plain",
        "probe_failures_in_row",
        "why",
    )

    def __init__(self, rules: HealthRules) -> None:
        self._rules = rules
        self.is_plain = True
        """Neither ejected nor in slow start: nothing to think about."""
        self.can_eject = False
        """Whether there is a shard that could do without the pool."""
        self.answered = 0
        """Requests of this window that were answered."""
        self.failed = 0
        """Requests of this window that found no replica."""
        self.failures_in_row = 0
        self.probe_failures_in_row = 0
        self.why: Why | None = None
        """Why it is ejected; None: it is not."""
        self.ejected_until_s = 0.0
        self._row = 0  # ejections that followed each other soon
        self._returned_s = float("-inf")
        self._slow_since_s: float | None = None

    # ── what is seen of the pool; each tells whether the pool is ejected or back by it ────────────────────────────────

    def was_answered(self, now_s: float, /) -> bool:
        """A request was answered."""
        self.answered += 1
        self.failures_in_row = 0
        return self.why is not None and self._shows_itself(now_s)

    def was_not_answered(self, now_s: float, /) -> bool:
        """A request found no replica."""
        self.failed += 1
        self.failures_in_row += 1
        return 0 < self._rules.failures <= self.failures_in_row and self._eject(Why.FAILURES, now_s)

    def was_probed(self, now_s: float, /, *, is_there: bool) -> bool:
        """A probe was answered, or not."""
        if is_there:
            self.probe_failures_in_row = 0
            return self.why is not None and self._shows_itself(now_s)
        self.probe_failures_in_row += 1
        return self.probe_failures_in_row >= self._rules.probe_failures and self._eject(Why.PROBES, now_s)

    def was_outlier(self, now_s: float, /) -> bool:
        """It fails more than others do."""
        return self._eject(Why.OUTLIER, now_s)

    def passed(self, now_s: float, /) -> bool:
        """Time has passed: whether an ejection is over by that. Ends slow starts too."""
        if self.why is not None:
            if now_s < self.ejected_until_s:
                return False
            self._return(now_s)
            return True
        if self._slow_since_s is not None and now_s - self._slow_since_s >= self._rules.slow_start_s:
            self._slow_since_s = None
            self.is_plain = True
        return False

    def is_new(self, now_s: float, /) -> None:
        """Requests go to this pool from now on, while others had them before."""
        self._start_slowly(now_s)

    # ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_ejected(self) -> bool:
        """Whether the pool is better left alone."""
        return self.why is not None

    @property
    def is_slow(self) -> bool:
        """Whether it is in slow start."""
        return self._slow_since_s is not None

    def share(self, now_s: float, /) -> float:
        """The part of its requests that it is given."""
        since_s = self._slow_since_s
        if since_s is None:
            return 1.0
        rules = self._rules
        grown = max(0.0, now_s - since_s) / rules.slow_start_s
        return min(1.0, rules.first_share + (1.0 - rules.first_share) * grown)

    def take_tally(self) -> Tally:
        """What came of the window's requests; the next window begins."""
        tally = Tally(self.answered, self.failed)
        self.answered = self.failed = 0
        return tally

    # ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _eject(self, why: Why, now_s: float) -> bool:
        rules = self._rules
        if self.why is not None or not self.can_eject or not rules.failures:
            return False
        if now_s - self._returned_s > rules.longest_s:
            self._row = 0
        self.why = why
        self.ejected_until_s = now_s + min(rules.longest_s, rules.base_s * 2.0 ** min(self._row, 30))
        self._row += 1
        self._slow_since_s = None
        self.is_plain = False
        return True

    def _shows_itself(self, now_s: float) -> bool:
        if self.why is Why.OUTLIER:
            return False  # some requests are answered there, which was so all the time
        self._return(now_s)
        return True

    def _return(self, now_s: float) -> None:
        self.why = None
        self._returned_s = now_s
        # Nobody knows whether it is well: one failure is enough now, one answer takes that back.
        self.failures_in_row = max(0, self._rules.failures - 1)
        self.probe_failures_in_row = 0
        self.answered = self.failed = 0
        self._start_slowly(now_s)

    def _start_slowly(self, now_s: float) -> None:
        if self._rules.slow_start_s > 0:
            self._slow_since_s = now_s
            self.is_plain = False
        else:
            self._slow_since_s = None
            self.is_plain = self.why is None


class Tally(NamedTuple):
    """What came of the requests of one window."""

    answered: int
    failed: int


def outliers(tallies: Mapping[_K, Tally], rules: HealthRules, /) -> list[_K]:
    """Those whose requests fail clearly more than those of all the others together."""
    answered = sum(tally.answered for tally in tallies.values())
    failed = sum(tally.failed for tally in tallies.values())
    found = []
    for name, tally in tallies.items():
        own = sum(tally)
        others = answered + failed - own
        if own < rules.outlier_requests or others < rules.outlier_requests:
            continue
        if tally.failed / own > (failed - tally.failed) / others + rules.outlier_margin:
            found.append(name)
    return found


def outcome_of(verdict: Verdict, status: int, /) -> bool | None:
    """What an answer says of the pool: it is there (True), no replica of it is (False), nothing (None)."""
    if verdict is Verdict.NO_REPLICA or verdict is Verdict.UNROUTED:
        return False
    if verdict is Verdict.WRAP and _FIRST_GATEWAY_STATUS <= status <= _LAST_GATEWAY_STATUS:
        return None  # a model server's own, or an activator's whose time was up
    return True
