"""Where a request's time goes in a replica: `python -m benchmarks.pool_profile [--bot mlp|text] [--seconds S]`.

Samples of its threads by py-spy (looked for on the PATH) while 64 requests are always in flight: the share of each
function itself, which is the upper edge of a flame graph, and with all that it calls. `--raw FILE` keeps the stacks,
one a line, as flame graph tools read them. Native code (event loop, system calls, JSON, numpy) counts for the Python
function that called it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.http_load import run_load
from benchmarks.pool_bots import mlp_requests, publish_all, text_requests, write_mlp, write_text_bot
from benchmarks.pool_rest import replica
from benchmarks.pool_subjects import Subject, on_core, running

_CONNECTIONS = 64
_PER_S = 500
_SHOWN = 22
_LEAST_SHARE = 0.02


def main() -> int:
    """Sample and tell."""
    options = argparse.ArgumentParser(description="Where a request's time goes in a replica")
    options.add_argument("--bot", choices=("mlp", "text"), default="mlp")
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--raw", type=Path, metavar="FILE", help="keep the stacks there")
    chosen = options.parse_args()
    spy = shutil.which("py-spy")
    if spy is None:
        options.error("there is no py-spy on the PATH")
    with tempfile.TemporaryDirectory(prefix="botshard-profile-") as name:
        folder = Path(name)
        bot = folder / "bots" / chosen.bot
        if chosen.bot == "mlp":
            write_mlp(bot)
            requests = mlp_requests()
        else:
            write_text_bot(bot)
            requests = text_requests(bot.name)
        ours = replica(publish_all(folder, [bot]), requests)
        raw = chosen.raw or folder / "stacks.txt"
        with running([ours]), on_core(max(os.sched_getaffinity(0))):
            per_s, cpu_us = _sample(ours, spy, raw, chosen.seconds)
        _tell(raw, per_s, cpu_us)
    return 0


def _sample(subject: Subject, spy: str, raw: Path, seconds: int) -> tuple[float, float]:
    """Requests a second and CPU a request, without and before the sampling."""
    assert subject.process is not None
    run_load(subject.port, subject.requests, connections=_CONNECTIONS, seconds=1.0)
    before_s = subject.cpu_s()
    load = run_load(subject.port, subject.requests, connections=_CONNECTIONS, seconds=3.0)
    cpu_us = (subject.cpu_s() - before_s) / load.answered * 1e6
    pid = str(subject.process.pid)
    rate, duration = str(_PER_S), str(seconds)
    command = [spy, "record", "--pid", pid, "--rate", rate, "--duration", duration, "--format", "raw"]
    sampling = subprocess.Popen([*command, "--nonblocking", "--output", raw], stdout=subprocess.DEVNULL)
    run_load(subject.port, subject.requests, connections=_CONNECTIONS, seconds=seconds + 1.0)
    if sampling.wait():
        raise RuntimeError("py-spy has failed")
    return load.per_s, cpu_us


def _tell(raw: Path, per_s: float, cpu_us: float) -> None:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            whole[frame] += int(samples)
    total = sum(own.values())
    print(f"{per_s:,.0f} requests a second, {cpu_us:.1f} µs of CPU a request; {total:,} samples")
    for what, counter in (("itself", own), ("with what it calls", whole)):
        print(f"\n{what}:")
        for frame, count in counter.most_common(_SHOWN):
            share = count / total
            if share >= _LEAST_SHARE:
                print(f"{share:6.1%} {share * cpu_us:7.1f} µs  {frame}")


def _short(frame: str) -> str:
    """`function (file.py)`, without the line."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


if __name__ == "__main__":
    sys.exit(main())
