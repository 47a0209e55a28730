"""A thousand bots of one size: what they take in memory, and how long until they answer, beside KServe's server.

Memory is the proportional set size once every bot has been asked (weights are mapped files: pages that nobody touched
are not there yet), less that of the same server with one bot, by bot, over the size of a bot's weights. Times are from
exec, less those of the same server with one bot: what is left is the loading. KServe's server answers nobody before it
has loaded all; its own loop over `Model.load` is told as well.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from benchmarks.pool_bots import Published, mlp_requests
from benchmarks.pool_options import Options
from benchmarks.pool_rest import replica
from benchmarks.pool_subjects import Subject, ask_once, free_port, module, on_core, started
from benchmarks.report import Row

__all__ = ["BOTS", "memory_rows"]

BOTS = 1_000
_WEIGHTS_BYTES = 4 * (384 * 256 + 256 + 256 * 16 + 16)
_MOST_RATIO = 1.10
_LOAD_RATIO = 0.5
_PATIENCE_S = 120.0
_SDK = "KServe SDK"
_LOOP = re.compile(r"loaded in ([0-9.]+) s of CPU")
_MEBIBYTE = 1 << 20


@dataclass(slots=True)
class _Run:
    """One server with so many bots, round after round."""

    pss_bytes: list[int] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    """From exec to the first answer of any bot."""
    all_s: list[float] = field(default_factory=list)
    """From exec until all were in memory."""
    all_cpu_s: list[float] = field(default_factory=list)
    """The same of CPU, which other work on the machine moves less."""
    loop_cpu_s: list[float] = field(default_factory=list)
    """Of the SDK's loop over `Model.load`."""


def memory_rows(many: Published, one: Published, options: Options) -> list[Row]:
    """Rounds of both servers with one bot and with all, on the same core."""
    runs = {name: _Run() for name in ("ours", "ours, one", "sdk", "sdk, one")}
    _ask_all(_ours(many), _Run())  # fetches all artifacts into the cache, as the SDK has its files
    _ask_all(_ours(one), _Run())
    for _ in range(options.rounds):
        _ask_all(_ours(many), runs["ours"])
        _ask_all(_ours(one), runs["ours, one"])
        _ask_all(_sdk(many), runs["sdk"])
        _ask_all(_sdk(one), runs["sdk, one"])
    mine, theirs = (_memory_ratio(runs[name], runs[f"{name}, one"]) for name in ("ours", "sdk"))
    base = {name: statistics.median(runs[f"{name}, one"].pss_bytes) / _MEBIBYTE for name in ("ours", "sdk")}
    load_s, sdk_load_s = (_net(runs[name].all_s, runs[f"{name}, one"].all_s) for name in ("ours", "sdk"))
    cpu_s = _net(runs["ours"].all_cpu_s, runs["ours, one"].all_cpu_s)
    loop_s = statistics.median(runs["sdk"].loop_cpu_s)
    first_ms = _net(runs["ours"].first_s, runs["ours, one"].first_s) * 1e3
    sdk_first_ms = _net(runs["sdk"].first_s, runs["sdk, one"].first_s) * 1e3
    what = f"{BOTS:,} bots"
    return [
        Row(f"{what}: memory of one over its weights", mine, {_SDK: theirs}, mine, "≤ 1.1", mine <= _MOST_RATIO),
        Row("memory with one bot, MiB", base["ours"], {_SDK: base["sdk"]}, base["ours"] / base["sdk"]),
        Row(
            f"{what}: loading, s of CPU",
            cpu_s,
            {"the SDK's loop": loop_s},
            cpu_s / loop_s,
            f"≤ {_LOAD_RATIO:g} x",
            ok=cpu_s / loop_s <= _LOAD_RATIO,
        ),
        Row(
            f"{what}: from exec until all are loaded, over one bot, s", load_s, {_SDK: sdk_load_s}, load_s / sdk_load_s
        ),
        Row(f"{what}: from exec to the first answer, over one bot, ms", first_ms, {_SDK: sdk_first_ms}),
    ]


def _ours(published: Published) -> Subject:
    subject = replica(published, _requests(published))
    # KServe's application comes when it is quiet, which would be in the middle: all of it would be the bots'.
    subject.environ = {**subject.environ, "RUNTIME_SDK": "asked"}
    return subject


def _sdk(published: Published) -> Subject:
    port = free_port()
    command = module("benchmarks.pool_servers", "sdk", port, published.folder / "bots")
    return Subject(_SDK, command, port, _requests(published))


def _requests(published: Published) -> list[bytes]:
    return [mlp_requests(path.name)[0] for path in sorted(published.folder.glob("bots/*"))]


def _ask_all(subject: Subject, run: _Run) -> None:
    began_s = time.monotonic()
    with started(subject), on_core(max(os.sched_getaffinity(0))):
        _until(lambda: ask_once(subject.port, subject.requests[0]) is not None, subject, poll_s=0.005)
        run.first_s.append(time.monotonic() - began_s)
        if subject.name != _SDK:  # which has loaded all before it answers
            _until(lambda: _resident(subject) == len(subject.requests), subject, poll_s=0.1)
        run.all_s.append(time.monotonic() - began_s)
        run.all_cpu_s.append(subject.cpu_s())
        for request in subject.requests:
            if ask_once(subject.port, request) is None:
                raise RuntimeError(f"{subject.name}: a bot does not answer: {subject.said()}")
        run.pss_bytes.append(subject.pss_bytes())
        told = _LOOP.search(subject.said())
        if told is not None:
            run.loop_cpu_s.append(float(told[1]))


def _resident(subject: Subject) -> int:
    answer = ask_once(subject.port, b"GET /pool/ready HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    return 0 if answer is None else int(orjson.loads(answer)["bots"].get("resident", 0))


def _until(is_so: Callable[[], bool], subject: Subject, *, poll_s: float) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{subject.name} has not loaded its bots: {subject.said()}")
        time.sleep(poll_s)


def _net(with_all: Sequence[float], with_one: Sequence[float]) -> float:
    return statistics.median(with_all) - statistics.median(with_one)


def _memory_ratio(with_all: _Run, with_one: _Run) -> float:
    """Bytes of each bot after the first, over those of its weights."""
    return _net(with_all.pss_bytes, with_one.pss_bytes) / (BOTS - 1) / _WEIGHTS_BYTES
