"""Servers under test: started on one core, waited for, measured in turn."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from benchmarks.http_load import Load, run_load, whole_bytes

__all__ = [
    "Figures",
    "Subject",
    "ask_once",
    "free_port",
    "measure",
    "module",
    "on_core",
    "running",
    "started",
    "wait_until_right",
]

_READY_S = 120.0
_STOP_S = 20.0
_POLL_S = 0.05
_WARM_S = 0.3


@dataclass(slots=True)
class Figures:
    """What the rounds have given; a figure of the whole is their median."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)

    def median(self, name: str, /) -> float:
        """Of the rounds."""
        rounds: list[float] = getattr(self, name)
        return statistics.median(rounds)


@dataclass(slots=True)
class Subject:
    """One server under test."""

    name: str
    command: Sequence[str]
    port: int
    requests: Sequence[bytes]
    """What it is asked, whole requests; the first of them until it is ready."""
    environ: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[bytes], None] | None = None
    """Raises where the body of the answer to the first request is not right."""
    folder: Path = Path(__file__).parent.parent
    """Where it is started."""
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = None

    def said(self) -> str:
        """The end of what it wrote to standard error, for people."""
        return b"".join(self.log_lines()).decode(errors="replace")[-2000:]

    def log_lines(self) -> list[bytes]:
        """All that it wrote."""
        if self.log is None:
            return []
        self.log.seek(0)
        return self.log.readlines()

    def cpu_s(self) -> float:
        """User and system time of its processes so far."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(one.user + one.system for one in times))

    def pss_bytes(self) -> int:
        """Proportional set size of its processes: pages that several of them map count once."""
        return sum(process.memory_full_info().pss for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        assert self.process is not None
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pins this process, and so whatever it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def started(subject: Subject) -> Iterator[Subject]:
    """One server, started on the first core and ended whatever happens; it may not be ready yet."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **subject.environ}
    with tempfile.TemporaryFile() as log:
        with on_core(min(os.sched_getaffinity(0))):
            process = subprocess.Popen(
                subject.command, env=environ, cwd=subject.folder, stdout=log, stderr=log, start_new_session=True
            )
        subject.process, subject.log = process, log
        try:
            yield subject
        finally:
            subject.process = subject.log = None
            _end(process)


@contextlib.contextmanager
def running(subjects: Sequence[Subject]) -> Iterator[None]:
    """All of them, once each has answered its first request with what is right."""
    with contextlib.ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(started(subject))
        for subject in subjects:
            wait_until_right(subject)
        yield


def wait_until_right(subject: Subject) -> None:
    """Until it answers its first request; raises where the answer is wrong, or none comes."""
    assert subject.process is not None
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s:
        answer = ask_once(subject.port, subject.requests[0])
        if answer is not None:
            if subject.check is not None:
                subject.check(answer)
            return
        if subject.process.poll() is not None:
            break
        time.sleep(_POLL_S)
    raise RuntimeError(f"{subject.name} does not answer: {subject.said()}")


def ask_once(port: int, request: bytes) -> bytes | None:
    """The body of an answer of 200 over a connection of its own; None: there was none."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5.0) as client:
        client.sendall(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        answer = b""
        while (size := whole_bytes(answer)) is None or len(answer) < size:
            more = client.recv(1 << 16)
            if not more:
                break
            answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return body if head.startswith(b"HTTP/1.1 200") else None
    return None


def measure(
    subjects: Sequence[Subject], *, rounds: int, seconds: float, connections: int, warm_s: float = _WARM_S
) -> dict[str, Figures]:
    """Rounds in which each is loaded in turn, from the last core; by name."""
    found = {subject.name: Figures() for subject in subjects}
    with on_core(max(os.sched_getaffinity(0))):
        for _ in range(rounds):
            for subject in subjects:
                run_load(subject.port, subject.requests, connections=connections, seconds=warm_s)
                before_s = subject.cpu_s()
                load = run_load(subject.port, subject.requests, connections=connections, seconds=seconds)
                _note(found[subject.name], _checked(subject, load), subject.cpu_s() - before_s)
    return found


def _note(figures: Figures, load: Load, cpu_s: float) -> None:
    figures.per_s.append(load.per_s)
    figures.cpu_us.append(cpu_s / load.answered * 1e6)
    figures.p50_us.append(load.percentile_us(0.5))
    figures.p99_us.append(load.percentile_us(0.99))


def _checked(subject: Subject, load: Load) -> Load:
    if load.failed or not load.answered:
        what = f"{subject.name}: {load.failed} of {load.answered} requests failed"
        raise RuntimeError(f"{what}; nothing was measured: {load.first_failure}")
    return load


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it has started."""
    own = psutil.Process(process.pid) if process.poll() is None else None
    children = own.children(recursive=True) if own is not None else []
    if own is not None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def module(name: str, *arguments: object) -> list[str]:
    """Command of one of our own modules."""
    return [sys.executable, "-W", "ignore", "-m", name, *map(str, arguments)]
