"""One bot over REST: many requests in flight and one alone, JSON and binary tensors, beside other model servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.pool_bots import Published, mlp_requests
from benchmarks.pool_options import Options
from benchmarks.pool_peers import answers_like, peers, sdk
from benchmarks.pool_subjects import Figures, Subject, free_port, measure, module, running
from benchmarks.report import Row

__all__ = ["replica", "rest_rows"]

_IN_FLIGHT = 64
_TIMES_SDK = 12.0
_TIMES_BEST = 4.0
_ALONE_RATIO = 0.45


def replica(published: Published, requests: Sequence[bytes], name: str = "replica") -> Subject:
    """A replica as it is started in a container."""
    port = free_port()
    environ = {**published.environ, "RUNTIME_HTTP_PORT": str(port)}
    return Subject(name, module("kserve_runtimes"), port, requests, environ)


def rest_rows(published: Published, weights: Path, options: Options) -> list[Row]:
    """The rows of one bot, one row of numbers a request."""
    ours = replica(published, mlp_requests())
    ours.check = answers_like(weights)
    known = sdk(weights)
    others = peers(options.peers_python, published.folder / "peers", weights)
    floor = _floor(weights)
    subjects = [ours, known, *others, floor]
    with running(subjects):
        many = measure(subjects, rounds=options.rounds, seconds=options.seconds, connections=_IN_FLIGHT)
        alone = measure(subjects, rounds=options.rounds, seconds=options.seconds / 2, connections=1)
        binaries = [replace(subject, requests=mlp_requests(binary=True)) for subject in (ours, known)]
        binary = measure(binaries, rounds=options.rounds, seconds=options.seconds, connections=_IN_FLIGHT)
    what = f"JSON, {_IN_FLIGHT} in flight"
    return [
        _row(f"{what}: requests a second", many, "per_s", least=_TIMES_SDK),
        *_against_the_best(f"{what}: requests a second", many, [peer.name for peer in (known, *others)]),
        _row(f"{what}: CPU a request, µs", many, "cpu_us"),
        _row(f"{what}: p50, µs", many, "p50_us"),
        _row("JSON, one in flight: p50, µs", alone, "p50_us", most=_ALONE_RATIO),
        _row("JSON, one in flight: p99, µs", alone, "p99_us"),
        _row("JSON, one in flight: CPU a request, µs", alone, "cpu_us"),
        _row(f"binary tensors, {_IN_FLIGHT} in flight: requests a second", binary, "per_s"),
        _row(f"binary tensors, {_IN_FLIGHT} in flight: CPU a request, µs", binary, "cpu_us"),
    ]


def _floor(weights: Path) -> Subject:
    port = free_port()
    command = module("benchmarks.pool_servers", "floor", port, weights)
    return Subject("bare protocol", command, port, mlp_requests(), check=answers_like(weights))


def _row(
    what: str, figures: Mapping[str, Figures], name: str, *, least: float | None = None, most: float | None = None
) -> Row:
    mine, *others = (found.median(name) for found in figures.values())
    ratio = mine / others[0]
    peers_by_name = dict(zip(list(figures)[1:], others, strict=True))
    if least is not None:
        return Row(what, mine, peers_by_name, ratio, f"≥ {least:g} x", ok=ratio >= least)
    if most is not None:
        return Row(what, mine, peers_by_name, ratio, f"≤ {most:g} x", ok=ratio <= most)
    return Row(what, mine, peers_by_name, ratio)


def _against_the_best(what: str, figures: Mapping[str, Figures], names: Sequence[str]) -> list[Row]:
    best = max(names, key=lambda name: figures[name].median("per_s"))
    mine, theirs = (found.median("per_s") for found in (next(iter(figures.values())), figures[best]))
    ratio = mine / theirs
    bar = f"≥ {_TIMES_BEST:g} x"
    return [Row(f"{what}, against the best peer", mine, {best: theirs}, ratio, bar, ok=ratio >= _TIMES_BEST)]
