"""One design after the other: started, looked at, broken under load, rolled out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.asking.exchanges import Results
from loadtests.asking.orders import Asked, Orders
from loadtests.asking.running import Asking
from loadtests.baselines.bots import QUESTION, ComparedBot, write_compared
from loadtests.baselines.designs import (
    Design,
    OneProcess,
    ProcessEach,
    Sharded,
    stopping,
)
from loadtests.baselines.servers import kserve_server, our_replica
from loadtests.errors import LoadTestError
from loadtests.place import say
from loadtests.traffic.popularity import uniform
from loadtests.traffic.timetable import Phase, make_timetable

__all__ = ["DESIGNS", "HARM_S", "LATE_S", "Measured", "measure_designs"]

_RATE_PER_S = 200.0
_LOAD_S = 24.0
_KILL_AT_S = 3.0
HARM_S = 5.0
"""How long a process is killed whenever it serves: what a bot does to it whose requests end it."""
LATE_S = 1.0
"""What nobody should wait for an answer."""
_AGAIN_S = 0.05
_USERS = 1_000
"""More than can be stuck at a process that is dead, or others would wait for a user and not for an answer."""
_PATIENCE_S = 12.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One design."""

    name: str
    bots: int
    """That were served."""
    processes: int
    pss_bytes: int
    """Of all that the design needs, once every bot was asked."""
    start_s: float
    """From exec until every bot has answered."""
    requests: int
    failed: int
    failed_bots: int
    """That had a failed request once a process was killed, whenever it served, for `HARM_S`."""
    hurt_bots: int
    """That had one which failed or took longer than `LATE_S`."""
    asked_bots: int
    """That were asked between the first kill and the last request that was hurt so."""
    hurt_for_s: float
    """From the first kill to the last request that was hurt, by when it was due."""
    longest_s: float
    """That a request took which was due after the first kill."""
    roll_one_s: float
    roll_all_s: float


def measure_designs(
    folder: Path, *, bots: int, processes: int, seed: int, chosen: Sequence[str] = ()
) -> list[Measured]:
    """All of them, or those named. Raises: LoadTestError.

    Args:
        folder: for all that is made.
        bots: of the designs that share processes.
        processes: of the designs that do not: as many bots have they.
        seed: of weights and load.
        chosen: names of `DESIGNS`; none: all.
    """
    if not 1 <= processes <= bots:
        raise LoadTestError("there must be at least one process, and as many bots as processes")
    compared = write_compared(folder / "bots", bots, seed=seed)
    found = []
    for name, make in DESIGNS.items():
        if chosen and name not in chosen:
            continue
        say(f"{name}: begins")
        few = compared[:processes] if make in _EACH else compared
        found.append(_measure(name, folder / name.replace(" ", "-").replace(",", ""), few, make, seed=seed))
        say(f"{name}: {found[-1]}")
    return found


_Make = Callable[[Path, Sequence[ComparedBot]], ProcessEach | OneProcess | Sharded]


def _kserve_each(folder: Path, bots: Sequence[ComparedBot]) -> ProcessEach:
    return ProcessEach(folder, bots, kserve_server)


def _ours_each(folder: Path, bots: Sequence[ComparedBot]) -> ProcessEach:
    return ProcessEach(folder, bots, our_replica)


def _kserve_one(folder: Path, bots: Sequence[ComparedBot]) -> OneProcess:
    return OneProcess(folder, bots, kserve_server)


def _ours_one(folder: Path, bots: Sequence[ComparedBot]) -> OneProcess:
    return OneProcess(folder, bots, our_replica)


def _sharded(folder: Path, bots: Sequence[ComparedBot]) -> Sharded:
    return Sharded(folder, bots, copies=1)


def _sharded_twice(folder: Path, bots: Sequence[ComparedBot]) -> Sharded:
    return Sharded(folder, bots, copies=2)


DESIGNS: dict[str, _Make] = {
    "a process a bot, KServe's server": _kserve_each,
    "a process a bot, our replica": _ours_each,
    "one process for all, KServe's server": _kserve_one,
    "one process for all, our replica": _ours_one,
    "bot sharding": _sharded,
    "bot sharding, k = 2": _sharded_twice,
}
_EACH = (_kserve_each, _ours_each)


def _measure(name: str, folder: Path, bots: Sequence[ComparedBot], make: _Make, *, seed: int) -> Measured:
    folder.mkdir(parents=True)
    began_s = time.monotonic()
    design = make(folder, bots)
    with stopping(design):
        if isinstance(design, Sharded):  # whose bots are published before, as the others' files are there before
            began_s = time.monotonic()
            design.start()
        design.wait()
        start_s = time.monotonic() - began_s
        processes, pss_bytes = design.processes, design.pss_bytes()
        results, killed_s = _break(folder, design, bots, seed=seed)
        after = [one for one in results.exchanges if one.at_s + one.took_s > killed_s]
        hurt = [one for one in after if one.cause or one.took_s > LATE_S]
        hurt_for_s = max((one.at_s - killed_s for one in hurt), default=0.0)
        asked = {one.bot for one in after if one.at_s - killed_s <= hurt_for_s} if hurt else set()
        one_s = _timed(lambda: design.roll_out([0]))
        all_s = _timed(lambda: design.roll_out(range(1, len(bots)))) if len(bots) > 1 else one_s
    return Measured(
        name,
        len(bots),
        processes,
        pss_bytes,
        start_s,
        len(results.exchanges),
        sum(1 for one in results.exchanges if one.cause),
        len({one.bot for one in hurt if one.cause}),
        len({one.bot for one in hurt}),
        len(asked),
        hurt_for_s,
        max((one.took_s for one in after), default=0.0),
        one_s,
        all_s,
    )


def _break(folder: Path, design: Design, bots: Sequence[ComparedBot], *, seed: int) -> tuple[Results, float]:
    """Load on all bots alike, under which one process is killed again and again; when that began, from the load's."""
    timetable = make_timetable(
        [Phase("load", _LOAD_S)], uniform(len(bots)), ["all"] * len(bots), base_per_s=_RATE_PER_S, seed=seed
    )
    asked = [Asked(bot.id, bot.answers, design.url(index)) for index, bot in enumerate(bots)]
    orders = Orders(timetable, asked, QUESTION, design.url(0), "", folder / "results.jsonl", _USERS, _PATIENCE_S)
    with Asking(orders, folder) as asking:
        while not asking.began_s():
            time.sleep(0.05)
        time.sleep(max(0.0, asking.began_s() + _KILL_AT_S - time.monotonic()))
        killed_s = time.monotonic() - asking.began_s()
        while time.monotonic() - asking.began_s() < killed_s + HARM_S:
            design.kill()
            time.sleep(_AGAIN_S)
        asking.wait()
    design.wait()
    return asking.results(), killed_s


def _timed(do: Callable[[], None]) -> float:
    began_s = time.monotonic()
    do()
    return time.monotonic() - began_s
