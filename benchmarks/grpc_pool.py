"""What a gRPC call costs a pool's replica: `python -m benchmarks.grpc_pool [--json FILE] [--rounds N] [--seconds S]`.

One bot, an MLP 384-256-16, one raw row a call. A replica as it is started in a container, KServe's model server with
the same network, and two servers that only give the message back take turns on one core; the load generator, gRPC's own
asyncio client, has the other. Figures are medians of interleaved rounds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.grpc_load import ask_once, run_calls
from benchmarks.pool_bots import Published, mlp_outputs, mlp_rows, publish_all, write_mlp
from benchmarks.pool_options import Options
from benchmarks.pool_subjects import Figures, Subject, free_port, module, on_core, started
from benchmarks.report import Row, parser, publish
from botshard.oip.grpc_schema import message_class

__all__ = ["grpc_rows"]

_CHANNELS = _CALLERS = 8
_TIMES_SDK = 1.5
_WARM_S = 0.3
_READY_S = 120.0
_POLL_S = 0.1


def main() -> int:
    """Measure, print, compare with the bar."""
    options = parser("What a gRPC call costs a pool's replica")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1.5, help="of load in each round")
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="botshard-grpc-") as folder:
        weights = write_mlp(Path(folder) / "bots" / "mlp")
        published = publish_all(Path(folder), [weights.parent])
        rows = grpc_rows(published, weights, Options(wanted.rounds, wanted.seconds, None))
    return publish(rows, wanted.json)


def grpc_rows(published: Published, weights: Path, options: Options) -> list[Row]:
    """The rows of one bot, named `mlp`, one raw row of numbers a call."""
    messages = _messages()
    subjects = _subjects(published, weights, messages)
    with contextlib.ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(started(subject))
        for subject in subjects:
            _wait_until_right(subject, weights)
        stack.enter_context(on_core(max(os.sched_getaffinity(0))))
        many: dict[str, Figures] = {subject.name: Figures() for subject in subjects}
        alone: dict[str, Figures] = {subject.name: Figures() for subject in subjects}
        for _ in range(options.rounds):
            for subject in subjects:
                _measure(subject, many[subject.name], channels=_CHANNELS, callers=_CALLERS, seconds=options.seconds)
                _measure(subject, alone[subject.name], channels=1, callers=1, seconds=options.seconds / 2)
    what = f"gRPC, {_CHANNELS * _CALLERS} in flight"
    return [
        _row(f"{what}: requests a second", many, "per_s", least=_TIMES_SDK),
        _row(f"{what}: CPU a request, µs", many, "cpu_us"),
        _row(f"{what}: p50, µs", many, "p50_us"),
        _row("gRPC, one in flight: p50, µs", alone, "p50_us"),
        _row("gRPC, one in flight: p99, µs", alone, "p99_us"),
        _row("gRPC, one in flight: CPU a request, µs", alone, "cpu_us"),
    ]


def _subjects(published: Published, weights: Path, messages: Sequence[bytes]) -> list[Subject]:
    ours, sdk, aio, core = (free_port() for _ in range(4))
    environ = {**published.environ, "RUNTIME_HTTP_PORT": "0", "RUNTIME_GRPC_PORT": str(ours)}
    servers = "benchmarks.grpc_servers"
    return [
        Subject("replica", module("kserve_runtimes"), ours, messages, environ),
        Subject("KServe SDK", module(servers, "sdk", sdk, weights), sdk, messages),
        Subject("grpc.aio echo", module(servers, "aio", aio), aio, messages),
        Subject("botshard.rpc echo", module(servers, "core", core), core, messages),
    ]


def _messages() -> list[bytes]:
    request_class = message_class("ModelInferRequest")
    messages = []
    for row in mlp_rows():
        request = request_class(model_name="mlp", raw_input_contents=[row.tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=[1, len(row)])
        messages.append(request.SerializeToString())
    return messages


def _wait_until_right(subject: Subject, weights: Path) -> None:
    """Until it answers: an echo with what it got, a model server with what the network makes of it."""
    assert subject.process is not None
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s and subject.process.poll() is None:
        answer = ask_once(subject.port, subject.requests[0])
        if answer is not None:
            if answer != subject.requests[0]:
                (raw,) = message_class("ModelInferResponse").FromString(answer).raw_output_contents
                wanted = mlp_outputs(weights, mlp_rows()[:1])
                np.testing.assert_allclose(np.frombuffer(raw, np.float32)[None], wanted, atol=1e-4)
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"{subject.name} does not answer: {subject.said()}")


def _measure(subject: Subject, figures: Figures, *, channels: int, callers: int, seconds: float) -> None:
    run_calls(subject.port, subject.requests, channels=channels, callers=callers, seconds=_WARM_S)
    before_s = subject.cpu_s()
    load = run_calls(subject.port, subject.requests, channels=channels, callers=callers, seconds=seconds)
    cpu_s = subject.cpu_s() - before_s
    if load.failed or not load.answered:
        raise RuntimeError(f"{subject.name}: {load.failed} of {load.answered} calls failed; nothing was measured")
    figures.per_s.append(load.answered / load.took_s)
    figures.cpu_us.append(cpu_s / load.answered * 1e6)
    figures.p50_us.append(load.percentile_us(0.5))
    figures.p99_us.append(load.percentile_us(0.99))


def _row(what: str, figures: Mapping[str, Figures], name: str, *, least: float | None = None) -> Row:
    medians = {subject: found.median(name) for subject, found in figures.items()}
    mine = medians.pop("replica")
    ratio = mine / medians["KServe SDK"]
    if least is None:
        return Row(what, mine, medians, ratio)
    return Row(what, mine, medians, ratio, f"≥ {least:g} x", ok=ratio >= least)


if __name__ == "__main__":
    sys.exit(main())
