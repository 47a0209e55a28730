"""A timetable: which bot is asked when, over which protocol. Made whole before anything is asked, and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple, Self

from loadtests.traffic.arrivals import moments
from loadtests.traffic.curves import Constant, Curve
from loadtests.traffic.mixes import Mix, Usual, Weights, usual_weights
from loadtests.traffic.popularity import Shares

__all__ = ["GRPC", "REST", "Arrival", "Phase", "Span", "Timetable", "make_timetable", "usual_of"]

REST, GRPC = "rest", "grpc"


class Arrival(NamedTuple):
    """One request that is due."""

    at_s: float
    """From the beginning."""
    bot: int
    """Its index in the fleet."""
    protocol: str
    phase: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a timetable with its own rate and its own mix of bots."""

    name: str
    seconds: float
    curve: Curve = Constant()  # noqa: RUF009 - a value
    mix: Mix = Usual()  # noqa: RUF009 - a value
    is_counted: bool = True
    """Whether it is in the figures of the whole; a warm-up is not."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a phase is."""

    name: str
    from_s: float
    until_s: float
    is_counted: bool = True

    @property
    def seconds(self) -> float:
        """How long."""
        return self.until_s - self.from_s


@dataclass(frozen=True, slots=True)
class Timetable:
    """What is asked, in order."""

    spans: tuple[Span, ...]
    arrivals: tuple[Arrival, ...]

    @property
    def seconds(self) -> float:
        """From the beginning to the end of the last phase."""
        return self.spans[-1].until_s if self.spans else 0.0

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "phases": [[span.name, span.from_s, span.until_s, span.is_counted] for span in self.spans],
            "arrivals": [[round(one.at_s, 6), one.bot, one.protocol, one.phase] for one in self.arrivals],
        }

    @classmethod
    def read(cls, document: Mapping[str, Any], /) -> Self:
        """What `document` wrote."""
        return cls(
            tuple(Span(*span) for span in document["phases"]),
            tuple(Arrival(*arrival) for arrival in document["arrivals"]),
        )


def make_timetable(
    phases: Sequence[Phase],
    shares: Shares,
    tenants: Sequence[str],
    *,
    base_per_s: float,
    seed: int,
    grpc_share: float = 0.0,
) -> Timetable:
    """The same timetable for the same arguments.

    Args:
        phases: one after the other.
        shares: usual popularity, by rank; which bot has which rank is drawn.
        tenants: whose each bot is; as many as `shares`.
        base_per_s: requests a second where a phase's curve is 1 and its mix usual.
        seed: of everything that is drawn.
        grpc_share: of the requests, those over gRPC; the others are over REST.
    """
    usual = usual_of(shares, seed)
    spans: list[Span] = []
    arrivals: list[Arrival] = []
    began_s = 0.0
    for index, phase in enumerate(phases):
        # A stream of its own for each phase: one more phase, or a longer one, changes nothing in the others.
        chance = Random(f"phase {seed} {index}")  # noqa: S311 - traffic, no secret
        drawn = _phase(phase, phase.mix.weights(usual, tenants), base_per_s, chance, grpc_share)
        arrivals += [Arrival(began_s + at_s, bot, protocol, index) for at_s, bot, protocol in drawn]
        spans.append(Span(phase.name, began_s, began_s + phase.seconds, phase.is_counted))
        began_s += phase.seconds
    return Timetable(tuple(spans), tuple(arrivals))


def usual_of(shares: Shares, seed: int) -> Weights:
    """What each bot is asked where nothing is unusual: the same that `make_timetable` takes."""
    return usual_weights(shares, Random(f"ranks {seed}"))  # noqa: S311 - traffic, no secret


def _phase(
    phase: Phase, weights: Sequence[float], base_per_s: float, chance: Random, grpc_share: float
) -> Iterator[tuple[float, int, str]]:
    sums = list(accumulate(weights))
    bots = range(len(weights))
    for at_s in moments(phase.curve, base_per_s=base_per_s * sums[-1], seconds=phase.seconds, chance=chance):
        (bot,) = chance.choices(bots, cum_weights=sums)
        yield at_s, bot, GRPC if chance.random() < grpc_share else REST
