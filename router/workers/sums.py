"""What several workers have counted, as one: counters added, gauges by what they mean. Pure.

A family is here what it is between processes: plain values. What workers that are gone have counted stays in the sums,
or a counter would go back; of pools and bots only as long as a worker that serves tells of them too, or their number
would only ever grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypedDict

__all__ = ["Counted", "Family", "Sample", "Totals", "added_up"]

Sample: TypeAlias = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


class Family(TypedDict):
    """One family of metrics."""

    name: str
    text: str
    type: str
    samples: Sequence[Sample]


class Counted(NamedTuple):
    """What one worker tells."""

    families: Sequence[Family]
    is_going: bool
    """It takes no new connections any more: what it says of table and catalog is of no interest."""


_ADDED: Final = frozenset({"counter", "histogram", "summary"})
_LEAST: Final = frozenset(
    {"botshard_router_ready", "botshard_router_table_epoch", "process_max_fds", "process_start_time_seconds"}
)
"""Gauges of which the smallest counts: all are ready, the table is in force everywhere."""
_MOST: Final = frozenset({"botshard_router_bots", "botshard_router_table_pools"})
"""Gauges that say the same everywhere, but for a moment."""
_CREATED: Final = "_created"
_PASSING: Final = ("pool", "bot")
"""Labels whose values come and go."""

_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


def _key_of(sample: Sample) -> _Key:
    return sample[0], tuple(sorted(sample[1].items()))


class _Sum:
    """One family while it is added up."""

    def __init__(self, family: Family) -> None:
        self.head = family
        self.values: dict[_Key, float] = {}
        self.labels: dict[_Key, Mapping[str, str]] = {}

    def take(self, sample: Sample, *, is_going: bool) -> None:
        name, labels, value = sample
        key = _key_of(sample)
        held = self.values.get(key)
        of_all = name in _LEAST or name in _MOST
        if of_all and is_going:
            return
        self.labels.setdefault(key, labels)
        if held is None:
            self.values[key] = value
        elif name in _LEAST or name.endswith(_CREATED):
            self.values[key] = min(held, value)
        elif name in _MOST or self.head["type"] == "info":
            self.values[key] = max(held, value)
        else:
            self.values[key] = held + value

    def family(self) -> Family:
        samples = [(key[0], self.labels[key], value) for key, value in self.values.items()]
        return Family(name=self.head["name"], text=self.head["text"], type=self.head["type"], samples=samples)


def added_up(workers: Iterable[Counted], gone: Iterable[Family] = ()) -> list[Family]:
    """All of them as one, in the order in which families and samples come first."""
    sums: dict[str, _Sum] = {}
    for families, is_going in (*workers, Counted(list(gone), is_going=False)):
        for family in families:
            found = sums.get(family["name"])
            if found is None:
                found = sums[family["name"]] = _Sum(family)
            for sample in family["samples"]:
                found.take(sample, is_going=is_going)
    return [found.family() for found in sums.values()]


class Totals:
    """What workers that are gone have counted."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}

    def add(self, families: Iterable[Family], /) -> None:
        """One more is gone, and this is the last that it told."""
        for family in families:
            if family["type"] not in _ADDED:
                continue
            found = self._sums.setdefault(family["name"], _Sum(family))
            for sample in family["samples"]:
                if not sample[0].endswith(_CREATED):
                    found.take(sample, is_going=False)

    def families(self, serving: Iterable[Sequence[Family]], /) -> list[Family]:
        """What is kept, beside what those that serve tell now; the rest of it is forgotten."""
        there = _passing(serving)
        if there:
            for found in self._sums.values():
                for key in [key for key in found.values if _is_over(key[1], there)]:
                    del found.values[key], found.labels[key]
        return [found.family() for found in self._sums.values() if found.values]


def _passing(serving: Iterable[Sequence[Family]]) -> set[tuple[str, str]]:
    return {
        (label, labels[label])
        for families in serving
        for family in families
        for _, labels, _ in family["samples"]
        for label in _PASSING
        if label in labels
    }


def _is_over(labels: Iterable[tuple[str, str]], there: set[tuple[str, str]]) -> bool:
    return any(label in _PASSING and (label, value) not in there for label, value in labels)
