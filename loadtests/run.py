"""One run of a scenario: timetable, place, asking, what happens meanwhile, report."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import where
from loadtests.asking.orders import Asked, Orders
from loadtests.asking.running import Asking
from loadtests.errors import LoadTestError
from loadtests.fleet import QUESTION, Fleet, make_fleet
from loadtests.meanwhile import Done, happening
from loadtests.place import Place, local_place, remote_place, say
from loadtests.report.document import document_of
from loadtests.report.promises import verdicts_of
from loadtests.report.seen import Seen
from loadtests.scenarios import PUBLISH, Scenario
from loadtests.traffic.mixes import GreedyTenant, HotBot, hot_bot, typical_tenant
from loadtests.traffic.popularity import POPULARITIES, Shares, measured
from loadtests.traffic.timetable import Timetable, make_timetable, usual_of
from loadtests.traffic.traces import TraceError, read_counts

__all__ = ["Options", "greedy_bots", "run_scenario"]

_USERS = 500
_GRPC_SHARE = 0.3
_SAY_S = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may change about a scenario; None: as it is in the table."""

    seconds: float | None = None
    bots: int | None = None
    tenants: int | None = None
    rate_per_s: float | None = None
    popularity: str | None = None
    """A name of `POPULARITIES`, or a file with a trace."""
    seed: int = 1
    users: int = _USERS
    grpc_share: float | None = None
    router: str | None = None
    """Address of what runs already; None: a local stack is made."""
    grpc: str = ""
    """`host:port` of the same over gRPC."""
    store_url: str | None = None
    """Of what runs already."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """A key a tenant, sent as a bearer's."""


def run_scenario(
    scenario: Scenario,
    options: Options,
    *,
    folder: Path | None = None,
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """The report's document. Raises: LoadTestError; KeyboardInterrupt only before the first request.

    Args:
        scenario: of the table.
        options: what is changed about it.
        folder: keeps what the run has made; None: it goes with the run.
        stop: ends the asking early, as Ctrl-C does.
        environ: of a stack's processes.
    """
    fleet = make_fleet(
        options.bots or scenario.bots,
        tenants=options.tenants or scenario.tenants,
        realtime_share=scenario.realtime_share,
        seed=options.seed,
    )
    shares = _shares(options.popularity or scenario.popularity, len(fleet.bots))
    with tempfile.TemporaryDirectory(prefix="botshard-load-") as temporary:
        path = folder or Path(temporary)
        path.mkdir(parents=True, exist_ok=True)
        with _place(scenario, options, fleet, path, environ) as place:
            grpc_share = _grpc_share(options, place)
            timetable = make_timetable(
                scenario.all_phases(options.seconds or scenario.seconds),
                shares,
                fleet.tenants,
                base_per_s=options.rate_per_s or scenario.rate_per_s,
                seed=options.seed,
                grpc_share=grpc_share,
            )
            seen, done = _ask(scenario, options, place, fleet, timetable, path, shares, stop)
    return document_of(
        seen,
        verdicts_of(seen, scenario.promises),
        name=scenario.name,
        what=scenario.what,
        load={
            "seed": options.seed,
            "bots": len(fleet.bots),
            "tenants": len(set(fleet.tenants)),
            "realtimeShare": scenario.realtime_share,
            "popularity": options.popularity or scenario.popularity,
            "ratePerS": options.rate_per_s or scenario.rate_per_s,
            "grpcShare": grpc_share,
            "users": options.users,
            "target": options.router or "a local stack",
        },
        where=where(),
        notes=done.notes,
    )


def _place(
    scenario: Scenario, options: Options, fleet: Fleet, folder: Path, environ: Mapping[str, str]
) -> AbstractContextManager[Place]:
    if options.router is None:
        return local_place(folder, fleet, is_asleep=scenario.is_asleep, environ=environ)
    if scenario.is_asleep:
        say(f"{scenario.name} begins with everything at zero: what runs at {options.router} must be so by itself")
    headers = _bearer(next(iter(options.keys.values()), ""))
    return remote_place(
        options.router.rstrip("/"),
        fleet,
        grpc=options.grpc,
        store_url=options.store_url,
        headers=headers,
        environ=environ,
    )


def _ask(  # noqa: PLR0913, PLR0917 - all that a run has
    scenario: Scenario,
    options: Options,
    place: Place,
    fleet: Fleet,
    timetable: Timetable,
    folder: Path,
    shares: Shares,
    stop: threading.Event | None,
) -> tuple[Seen, Done]:
    versions = (1, 2) if any(what == PUBLISH for _, what in scenario.meanwhile) else (1,)
    bots = [
        Asked(
            bot.id,
            [bot.answer(version) for version in versions],
            headers=_bearer(options.keys.get(bot.tenant, "")),
        )
        for bot in fleet.bots
    ]
    orders = Orders(timetable, bots, QUESTION, place.url, place.grpc, folder / "results.jsonl", options.users)
    say(f"{scenario.name}: {len(timetable.arrivals):,} requests in {timetable.seconds:.0f} s")
    with (
        Asking(orders, folder) as asking,
        happening(scenario, timetable.spans, place, fleet, folder / "versions", began_s=asking.began_s) as done,
    ):
        try:
            asking.wait(told=_Telling(), stop=stop)
        except KeyboardInterrupt:
            if not asking.began_s():
                raise
            say("stopped; the report is of what was asked until now")
    seen = Seen(
        timetable,
        asking.results(),
        fleet.tenants,
        fleet.groups,
        greedy=greedy_bots(scenario, fleet, shares, options.seed),
        published_s=done.published_s,
    )
    return seen, done


class _Telling:
    """Says how far it is, now and then."""

    def __init__(self) -> None:
        self._next_s = _SAY_S

    def __call__(self, passed_s: float) -> None:
        if passed_s >= self._next_s:
            self._next_s += _SAY_S
            say(f"{passed_s:.0f} s")


def greedy_bots(scenario: Scenario, fleet: Fleet, shares: Shares, seed: int) -> frozenset[int]:
    """Bots of whoever asks unusually much in some phase."""
    usual = usual_of(shares, seed)
    for phase in scenario.all_phases(scenario.seconds):
        match phase.mix:
            case HotBot():
                return frozenset({hot_bot(usual)})
            case GreedyTenant():
                greedy = typical_tenant(usual, fleet.tenants)
                return frozenset(bot for bot, tenant in enumerate(fleet.tenants) if tenant == greedy)
    return frozenset()


def _shares(popularity: str, count: int) -> Shares:
    """By a name, or by a file with a trace. Raises: LoadTestError."""
    if popularity in POPULARITIES:
        return POPULARITIES[popularity](count)
    try:
        with Path(popularity).open(newline="") as file:
            return measured(read_counts(file), count)
    except (OSError, TraceError, ValueError) as error:
        raise LoadTestError(
            f"popularity {popularity!r} is none of {', '.join(POPULARITIES)}, and no file with a trace: {error}"
        ) from error


def _grpc_share(options: Options, place: Place) -> float:
    """Nothing where the place does not speak it. Raises: LoadTestError where more was asked for."""
    if options.grpc_share is None:
        return _GRPC_SHARE if place.grpc else 0.0
    if options.grpc_share and not place.grpc:
        raise LoadTestError("a share over gRPC needs an address that is asked so: --grpc host:port")
    return options.grpc_share


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}
