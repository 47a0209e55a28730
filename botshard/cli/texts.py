"""Views as text for people: which columns, in which words and units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from botshard.cli.bot_views import BotLine, ReplicaView
from botshard.cli.explain_view import Explanation
from botshard.cli.output import Column, plain, print_pairs, print_table
from botshard.cli.pool_views import PoolLine
from botshard.cli.show_view import BotDetail, CostView
from botshard.sharding.units import format_bytes, format_duration_s

__all__ = [
    "BOT_COLUMNS",
    "POOL_COLUMNS",
    "bot_cells",
    "pool_cells",
    "print_detail",
    "print_explanation",
    "problem_notes",
]

BOT_COLUMNS = (
    Column("BOT"),
    Column("TENANT"),
    Column("GROUP"),
    Column("FRAMEWORK"),
    Column("VERSION", right=True),
    Column("STATE"),
    Column("FOOTPRINT", right=True),
    Column("RATE/S", right=True),
)
POOL_COLUMNS = (
    Column("POOL"),
    Column("PHASE"),
    Column("REPLICAS", right=True),
    Column("SHARDS", right=True),
    Column("BOTS", right=True),
    Column("RESIDENT", right=True),
    Column("MEMORY", right=True),
    Column("RATE/S", right=True),
    Column("RELOADS/S", right=True),
    Column("URL"),
)
_REPLICA_COLUMNS = (
    Column("REPLICA"),
    Column("STATE"),
    Column("VERSION", right=True),
    Column("FOOTPRINT", right=True),
    Column("RATE/S", right=True),
    Column("LOADED IN", right=True),
    Column("SEEN"),
    Column("POOL"),
)
_VERSION_COLUMNS = (
    Column("VERSION", right=True),
    Column(""),
    Column("PUBLISHED"),
    Column("SIZE", right=True),
    Column("ARTIFACT"),
)
_POOL_COLUMNS = (Column("ORDER", right=True), Column("POOL"), Column("ROLE"), Column("URL"))


def bot_cells(line: BotLine, /) -> Sequence[object]:
    """One bot in the columns of BOT_COLUMNS."""
    version = f"{line.version} of {line.latest}" if line.version != line.latest else str(line.version)
    return (
        line.bot,
        line.tenant,
        line.group,
        line.framework,
        version,
        line.state,
        _bytes(line.footprint_bytes),
        _rate(line.rate_per_s),
    )


def pool_cells(line: PoolLine, /) -> Sequence[object]:
    """One pool in the columns of POOL_COLUMNS."""
    coming = f" +{line.warming_shards + line.planned_shards}" if line.warming_shards + line.planned_shards else ""
    leaving = f" -{line.lingering_shards}" if line.lingering_shards else ""
    of_capacity = f" of {format_bytes(line.capacity_bytes)}" if line.capacity_bytes else ""
    return (
        line.pool,
        line.phase,
        f"{line.ready_replicas}/{line.replicas}",
        f"{line.shards}{coming}{leaving}",
        line.bots,
        line.resident,
        f"{format_bytes(line.resident_bytes)}{of_capacity}",
        _rate(line.rate_per_s),
        _rate(line.reloads_per_s),
        line.url,
    )


def print_detail(detail: BotDetail, /) -> None:
    """One bot, on stdout."""
    print_pairs(_about(detail))
    print()
    print_table(
        _VERSION_COLUMNS,
        (
            (
                one.number,
                "serving" if one.serving else None,
                _moment(one.published_at_s),
                format_bytes(one.size_bytes),
                one.artifact[:12],
            )
            for one in detail.versions
        ),
    )
    if detail.replicas:
        print()
        print_table(_REPLICA_COLUMNS, map(_replica_cells, detail.replicas))
        for replica in detail.replicas:
            if replica.error is not None:
                print(f"{replica.replica}: {plain(replica.error)}")


def print_explanation(explanation: Explanation, /) -> None:
    """Each step from a bot's id to its pools, on stdout."""
    detail, shard = explanation.detail, explanation.detail.shard
    inputs = {name: getattr(detail, name) or "-" for name in ("group", "framework", "backbone", "pin")}
    pairs = [
        ("bot", detail.bot),
        ("inputs", ", ".join(f"{name} {value}" for name, value in inputs.items())),
        ("family", detail.family),
        ("hash", detail.hash),
        ("shard", f"{shard.index} of {1 << shard.bits} (bits {shard.prefix or '-'})" if shard else None),
        ("routed to", ", ".join(shard.routed) if shard else None),
        ("epoch", detail.epoch),
        ("catalog object", detail.catalog_object),
    ]
    print_pairs(pairs)
    if shard is not None:
        print()
        print_table(_POOL_COLUMNS, ((pool.rank, pool.pool, pool.role, pool.url) for pool in shard.pools))
    print()
    for sentence in explanation.why:
        print(plain(sentence))


def problem_notes(problems: Mapping[str, str], /) -> Iterator[str]:
    """What in the store cannot be read, a line each."""
    for key, problem in problems.items():
        shown = problem if key in problem else f"{key}: {problem}"
        yield from (f"problem: {line}" for line in shown.splitlines())


def _about(detail: BotDetail) -> Iterator[tuple[str, object]]:
    newest = detail.versions[0].number
    yield "bot", detail.bot
    yield "tenant", detail.tenant
    yield "state", detail.state
    if detail.cannot_be_placed is not None:
        yield "cannot be placed", detail.cannot_be_placed
    serving = f"version {detail.serving}" if detail.serving is not None else "nothing: it is retired"
    pinned = "" if detail.rollout == "latest" else f", pinned; the newest is {newest}"
    yield "serving", serving + pinned
    if detail.model is not None:
        model = detail.model
        yield "model", f"{model.format}{f' ({model.architecture})' if model.architecture else ''}, {detail.framework}"
        yield "inputs", ", ".join(model.inputs)
        yield "outputs", ", ".join(model.outputs)
        yield "steps", " → ".join([*model.preprocess, "model", *model.postprocess])
    yield "pool group", detail.group
    if detail.backbone or detail.pin:
        yield "backbone, pin", f"{detail.backbone or '-'}, {detail.pin or '-'}"
    yield "family", detail.family
    shard = detail.shard
    yield "shard", f"{shard.index} of {1 << shard.bits} (epoch {detail.epoch})" if shard else "in no routing table yet"
    if shard is not None:
        urls = {pool.pool: pool.url for pool in shard.pools}
        yield "pools", ", ".join(f"{name} ({urls[name]})" for name in shard.routed)
        if shard.going_to:
            yield "on its way to", ", ".join(shard.going_to)
        if shard.lingering:
            yield "still answered by", ", ".join(shard.lingering)
    yield "footprint", _bytes(detail.footprint_bytes) or "not measured yet"
    yield "rate", f"{detail.rate_per_s:g}/s"
    if detail.costs is not None:
        yield from _cost_pairs(detail.costs)


def _cost_pairs(costs: CostView) -> Iterator[tuple[str, object]]:
    yield "asked", f"{costs.requests} requests, {costs.rows} rows since {_moment(costs.since_s)}"
    a_row = f", {costs.cpu_per_row_s * 1e6:.1f} µs a row" if costs.cpu_per_row_s is not None else ""
    yield "CPU", f"{costs.cpu_s:.3f} s{a_row}"
    if costs.load_s is not None:
        yield "loaded in", format_duration_s(costs.load_s)


def _replica_cells(one: ReplicaView) -> Sequence[object]:
    seen = "now" if one.live else f"ended, {format_duration_s(one.age_s)} ago"
    loaded_in = format_duration_s(one.load_s) if one.load_s else None
    return (
        one.replica,
        one.state,
        one.version,
        _bytes(one.footprint_bytes),
        _rate(one.rate_per_s),
        loaded_in,
        seen,
        one.pool,
    )


def _bytes(count_bytes: int | None) -> str | None:
    return format_bytes(count_bytes) if count_bytes else None


def _rate(rate_per_s: float) -> str | None:
    return f"{rate_per_s:.2f}" if rate_per_s else None


def _moment(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
