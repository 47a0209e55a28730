"""The router before a pool that can do less than is asked: `python -m benchmarks.router_overload [--json FILE]`.

The pool does eight requests at a time and takes 16 ms for each: 500 a second. It is asked a little less than that, then
three times as much, by a schedule (an open loop: nobody waits until the router is ready for more). What must hold: as
many are answered as before, each of them within the time that it was given; who is turned away is told so at once, and
when to come again.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.open_load import Exchanges, run_open_load
from benchmarks.proxies import (
    NAMES,
    load_core,
    on_core,
    publish_fleet,
    request_of,
    router_proxy,
    running,
    slow_upstream,
)
from benchmarks.report import Row, parser, publish

_CAPACITY_PER_S = 500
_TIMES = 3
_SETTLES_S = 3.0
"""Until the places to wait are all taken."""
_BUDGET_S = 2.0
"""What a request is given by its client."""
_CONNECTIONS = 4_000
_AT_A_POOL = 2
"""Requests in flight at one of the sixteen pools, all of which are the one that does so little."""
_TURNED_AWAY = (429, 503)


@dataclass(frozen=True, slots=True)
class _Seen:
    answered_per_s: float
    slowest_s: float
    shed_p99_s: float
    shed: int
    others: int


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("The router before a pool that is asked too much")
    options.add_argument("--seconds", type=float, default=10.0, help="of each phase (10)")
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, slow_upstream() as upstream_port:
        proxy = router_proxy(publish_fleet(Path(folder), upstream_port))
        proxy.environ["ROUTER_MAX_CONNECTIONS_PER_POOL"] = str(_AT_A_POOL)
        timed = b"\r\nx-request-timeout: %g\r\n\r\n" % _BUDGET_S
        requests = [request_of(name, proxy.port, 1024).replace(b"\r\n\r\n", timed, 1) for name in NAMES]
        with running([proxy]), on_core(load_core()):
            calm = _seen(_ask(proxy.port, requests, 0.95 * _CAPACITY_PER_S, wanted.seconds))
            busy = _seen(_ask(proxy.port, requests, _TIMES * _CAPACITY_PER_S, wanted.seconds))
    return publish(_rows(calm, busy), wanted.json)


def _ask(port: int, requests: list[bytes], per_s: float, seconds: float) -> Exchanges:
    arrivals = [(number / per_s, number % len(requests)) for number in range(int(per_s * (_SETTLES_S + seconds)))]
    return run_open_load(port, requests, arrivals, connections=_CONNECTIONS, check=lambda _, __: "")


def _seen(found: Exchanges) -> _Seen:
    began_s, last_due_s = min(found.due_s), max(found.due_s)
    rows = list(zip(found.status, found.due_s, found.done_s, strict=True))
    good = [done_s for status, _, done_s in rows if status == 200 and began_s + _SETTLES_S <= done_s <= last_due_s]
    shed = sorted(done_s - due_s for status, due_s, done_s in rows if status in _TURNED_AWAY)
    return _Seen(
        answered_per_s=len(good) / (last_due_s - began_s - _SETTLES_S),
        slowest_s=max(done_s - due_s for status, due_s, done_s in rows if status == 200),
        shed_p99_s=shed[int(len(shed) * 0.99)] if shed else 0.0,
        shed=len(shed),
        others=sum(status != 200 and status not in _TURNED_AWAY for status in found.status) + found.failed - len(shed),
    )


def _rows(calm: _Seen, busy: _Seen) -> list[Row]:
    peak, goodput = calm.answered_per_s, busy.answered_per_s
    return [
        Row(
            f"answered a second, asked at {_TIMES} x capacity",
            goodput,
            {"at 0.95 x": peak},
            goodput / peak,
            "≥ 0.9 x",
            goodput >= 0.9 * peak,
        ),
        Row("slowest answer, s", busy.slowest_s, {}, None, f"≤ {_BUDGET_S:g}", ok=busy.slowest_s <= _BUDGET_S),
        Row("turned away: p99 until told so, ms", busy.shed_p99_s * 1e3, {}, None, "< 5", ok=busy.shed_p99_s < 0.005),
        Row("turned away", busy.shed),
        Row("neither answered nor turned away", busy.others, {"at 0.95 x": calm.others}, None, "0", ok=not busy.others),
    ]


if __name__ == "__main__":
    sys.exit(main())
