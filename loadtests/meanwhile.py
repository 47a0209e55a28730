"""What is done to a place while it is asked: versions are published, and all that runs is replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.errors import LoadTestError
from loadtests.fleet import Fleet
from loadtests.place import Place, publish_fleet, roll, say
from loadtests.scenarios import PUBLISH, Scenario
from loadtests.traffic.timetable import Span

__all__ = ["Done", "happening"]

_EVERY = 4
"""Of the bots, one in so many gets a new version."""
_WAVES = 5


@dataclass(slots=True)
class Done:
    """What has happened."""

    published_s: dict[int, float] = field(default_factory=dict)
    """When a new version of a bot was in the catalog, from the timetable's beginning."""
    notes: list[str] = field(default_factory=list)
    """For people."""


@contextmanager
def happening(
    scenario: Scenario, spans: Sequence[Span], place: Place, fleet: Fleet, folder: Path, *, began_s: Callable[[], float]
) -> Iterator[Done]:
    """Does what belongs to a scenario's phases while this context lasts, in a thread.

    Args:
        scenario: whose.
        spans: when its phases are.
        place: to which it is done.
        fleet: what is there.
        folder: for bots' folders.
        began_s: monotonic seconds of the timetable's beginning; 0 until it has begun.
    """
    done, over = Done(), threading.Event()
    thread = threading.Thread(target=_act, args=(scenario, spans, place, fleet, folder, began_s, done, over))
    if scenario.meanwhile:
        thread.start()
    try:
        yield done
    finally:
        over.set()
        if scenario.meanwhile:
            thread.join()


def _act(  # noqa: PLR0913, PLR0917 - of a thread
    scenario: Scenario,
    spans: Sequence[Span],
    place: Place,
    fleet: Fleet,
    folder: Path,
    began_s: Callable[[], float],
    done: Done,
    over: threading.Event,
) -> None:
    while not began_s():
        if over.wait(0.05):
            return
    for phase, what in scenario.meanwhile:
        span = next(span for span in spans if span.name == phase)
        if over.wait(max(0.0, began_s() + span.from_s - time.monotonic())):
            return
        try:
            if what == PUBLISH:
                _publish(span, place, fleet, folder, began_s(), done, over)
            else:
                _roll(place, done)
        except (LoadTestError, OSError) as error:
            say(f"{what}: {error}")
            done.notes.append(f"{what}: {error}")


def _publish(
    span: Span, place: Place, fleet: Fleet, folder: Path, began_s: float, done: Done, over: threading.Event
) -> None:
    """In waves over the first half of the phase, so that all of them are asked afterwards."""
    if place.store is None:
        done.notes.append("no version was published: without --store nobody knows where")
        return
    chosen = list(range(0, len(fleet.bots), _EVERY))
    for wave in range(_WAVES):
        if over.wait(max(0.0, began_s + span.from_s + wave * span.seconds / (2 * _WAVES) - time.monotonic())):
            return
        bots = chosen[wave::_WAVES]
        if not bots:
            break
        publish_fleet(place.store, folder / f"wave-{wave}", tuple(fleet.bots[bot] for bot in bots), version=2)
        at_s = time.monotonic() - began_s
        done.published_s.update(dict.fromkeys(bots, at_s))
    done.notes.append(f"{len(done.published_s)} bots got a new version, in waves over half of the phase")


def _roll(place: Place, done: Done) -> None:
    if place.stack is None:
        done.notes.append("nothing was rolled: it is not a stack of this machine")
        return
    before_s = time.monotonic()
    roll(place.stack)
    done.notes.append(f"botshard roll: all that runs was replaced in {time.monotonic() - before_s:.1f} s")
