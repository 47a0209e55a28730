"""What a second worker of the router brings: `python -m benchmarks.router_workers [--rounds N] [--seconds S]`.

Routers with one worker and with two, each under its supervisor, take turns before one upstream; both route over 20,000
bots. Where there are four cores or more, each worker has one for itself, load and upstream have the others, and what
counts is requests a second. On two cores load and upstream share those of the workers, so that requests a second say
little of the router: there it is CPU a request, of all its processes, while both cores are busy. Two workers that
stood in each other's way would need more of it, so twice its ratio is what they would do with two cores of their own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_load import run_load
from benchmarks.proxies import NAMES, free_port, publish_fleet, request_of, upstream
from benchmarks.report import Row, parser, publish

_BODY_BYTES = 1024
_LEAST_RATIO = 1.8
_MOST_MIB = 80.0
_ENOUGH_CORES = 4
_TICKS = os.sysconf("SC_CLK_TCK")
_START_S = 60.0


@dataclass(slots=True)
class _Subject:
    """A router with so many workers."""

    workers: int
    port: int
    process: subprocess.Popen[bytes]
    pids: list[int] = field(default_factory=list)
    """Of its workers."""
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    busiest: list[float] = field(default_factory=list)
    """Share of the CPU that the busiest worker took."""


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("What a second worker of the router brings")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--connections", type=int, default=64)
    wanted = options.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    apart = len(cores) >= _ENOUGH_CORES
    with tempfile.TemporaryDirectory() as folder:
        if apart:
            os.sched_setaffinity(0, cores[2:])
        with upstream() as upstream_port, _routers(publish_fleet(Path(folder), upstream_port), cores) as subjects:
            for _ in range(wanted.rounds):
                for subject in subjects:
                    _measure(subject, wanted.connections, wanted.seconds, processes=max(1, len(cores) - 3))
            rows = _rows(*subjects, is_apart=apart)
    return publish(rows, wanted.json)


@contextmanager
def _routers(url: str, cores: Sequence[int]) -> Iterator[list[_Subject]]:
    subjects = []
    try:
        for workers in (1, 2):
            port = free_port()
            environ = {"ROUTER_STORE_URL": url, "ROUTER_PORT": str(port), "ROUTER_LOG_LEVEL": "warning"}
            process = subprocess.Popen(
                [sys.executable, "-m", "router", "--workers", str(workers)], env={**os.environ, **environ}
            )
            subjects.append(_Subject(workers, port, process))
        for subject in subjects:
            _wait_for_workers(subject)
            for pid, core in zip(subject.pids, cores, strict=False):
                os.sched_setaffinity(pid, {core})
        yield subjects
    finally:
        for subject in subjects:
            subject.process.terminate()
            subject.process.wait()


def _wait_for_workers(subject: _Subject) -> None:
    deadline_s = time.monotonic() + _START_S
    requests = [request_of(NAMES[0], subject.port, _BODY_BYTES)]
    while len(subject.pids) < subject.workers or run_load(subject.port, requests, connections=8, seconds=0.1).failed:
        if time.monotonic() > deadline_s or subject.process.poll() is not None:
            raise SystemExit("the router does not serve; nothing was measured")
        time.sleep(0.2)
        parent = subject.process.pid
        subject.pids = sorted(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def _measure(subject: _Subject, connections: int, seconds: float, *, processes: int) -> None:
    _load(subject.port, connections, 0.3, processes)  # warm: connections, caches
    pids = [subject.process.pid, *subject.pids]
    before = [_cpu_s(pid) for pid in pids]
    answered, took_s = _load(subject.port, connections, seconds, processes)
    used = [_cpu_s(pid) - was for pid, was in zip(pids, before, strict=True)]
    subject.per_s.append(answered / took_s)
    subject.cpu_us.append(sum(used) / answered * 1e6)
    subject.busiest.append(max(used[1:]) / sum(used[1:]))


def _load(port: int, connections: int, seconds: float, processes: int) -> tuple[int, float]:
    """Requests answered and how long that took, by so many processes at once."""
    each = max(1, connections // processes)
    if processes == 1:
        runs = [_run(port, each, seconds)]
    else:
        with ProcessPoolExecutor(processes) as pool:
            runs = list(pool.map(_run, [port] * processes, [each] * processes, [seconds] * processes))
    return sum(answered for answered, _ in runs), max(took_s for _, took_s in runs)


def _run(port: int, connections: int, seconds: float) -> tuple[int, float]:
    requests = [request_of(name, port, _BODY_BYTES) for name in NAMES]
    load = run_load(port, requests, connections=connections, seconds=seconds)
    if load.failed or not load.answered:
        raise SystemExit(f"{load.failed} of {load.answered} requests failed; nothing was measured")
    return load.answered, load.took_s


def _rows(one: _Subject, two: _Subject, *, is_apart: bool) -> list[Row]:
    bar = f"≥ {_LEAST_RATIO:g} x"
    per_s = [statistics.median(subject.per_s) for subject in (one, two)]
    cpu_us = [min(subject.cpu_us) for subject in (one, two)]
    seen, by_cpu = per_s[1] / per_s[0], 2 * cpu_us[0] / cpu_us[1]
    what = "requests a second, two workers"
    if is_apart:
        first = Row(what, per_s[1], {"one": per_s[0]}, seen, bar, seen >= _LEAST_RATIO)
    else:
        first = Row(f"{what}, load on the same cores", per_s[1], {"one": per_s[0]}, seen)
    by_bar = ("", None) if is_apart else (bar, by_cpu >= _LEAST_RATIO)
    rows = [
        first,
        Row(
            "requests in a second of two cores' CPU, two workers",
            2e6 / cpu_us[1],
            {"one": 1e6 / cpu_us[0]},
            by_cpu,
            *by_bar,
        ),
        Row("CPU a request, two workers, µs", cpu_us[1], {"one": cpu_us[0]}, cpu_us[1] / cpu_us[0]),
        Row("share of the busier one of two workers", statistics.median(two.busiest)),
    ]
    for name, index in (
        ("memory of a worker with 20,000 bots, MiB", 0),
        ("the same, its share of shared pages, MiB", 1),
    ):
        mib = max(_memory_mib(pid)[index] for pid in two.pids)
        rows.append(Row(name, mib, {}, None, f"≤ {_MOST_MIB:g}", mib <= _MOST_MIB))
    return [*rows, Row("memory of the supervisor, MiB", _memory_mib(two.process.pid)[0])]


def _cpu_s(pid: int) -> float:
    columns = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(columns[11]) + int(columns[12])) / _TICKS


def _memory_mib(pid: int) -> tuple[float, float]:
    """Resident, and proportional."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
    return found["Rss"], found["Pss"]


if __name__ == "__main__":
    sys.exit(main())
