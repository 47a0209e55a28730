"""Why a bot is where it is and how it fares there, as a router sees it: for `/admin/explain/{bot}` and the CLI."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from botshard.sharding.catalog import Bot
from botshard.sharding.explaining import ShardView, about_hash, about_pools, shard_view
from botshard.sharding.ids import BotId, FamilyId, PoolName
from router.explaining import explain_bot
from router.limits import Limits
from router.pools import Pools, PoolState
from router.table import BotRoute, Routes
from router.telemetry.telemetry import Telemetry

__all__ = ["explain_fully", "text_of"]

_MOST_ERRORS: Final = 10
_MOST_COLD: Final = 5


def explain_fully(
    bot_id: BotId,
    route: BotRoute | None,
    entry: Bot | None,
    /,
    *,
    routes: Routes,
    pools: Pools,
    telemetry: Telemetry,
    limits: Limits,
) -> dict[str, Any]:
    """What `explain_bot` tells, with the ranking, moves, limits, and what this router sees of the bot's pools now."""
    document = explain_bot(bot_id, route, entry, routes=routes, pools=pools)
    family, hash_hex = FamilyId(str(document["family"])), str(document["hash"])
    table = routes.table
    shard = None if table is None or route is None else shard_view(table, family, int(hash_hex, 16))
    sentences = [_about_version(document)]
    if table is None or shard is None:
        sentences.append(f"{str(document['why']).capitalize()}.")
        return {**document, "why": sentences, "now": []}
    group = table.groups[document["inputs"]["group"]]  # type: ignore[index] # made by `explain_bot`
    sentences.append(about_hash(hash_hex, shard))
    sentences += about_pools(shard, epoch=table.epoch, realtime=group.realtime, now_s=time.time())
    told = {pool["name"]: pool for pool in document["pools"]}  # type: ignore[attr-defined] # made by `explain_bot`
    seen = telemetry.errors.of_bot(bot_id, most=_MOST_ERRORS)
    cold = telemetry.ledger.last(bot_id, most=_MOST_COLD)
    document |= {
        "ranking": [
            {"rank": pool.rank, "pool": pool.pool, "role": pool.role.value, "url": pool.url} for pool in shard.pools
        ],
        "moves": _moves(shard),
        "pools": [told[name] | _seen_of(pools[PoolName(name)], telemetry) for name in shard.routed],
        "limits": {
            "requestTimeoutS": group.request_timeout_s,
            "coldStartTimeoutS": group.cold_start_timeout_s,
            "bodyBytes": limits.max_body_bytes,
            "connectionsPerPool": limits.max_connections_per_pool,
            "waitingPerPool": limits.max_waiting_per_pool,
        },
        "lastErrors": [error.document() for error in seen],
        "coldRequests": [one.document() for one in cold],
        "why": sentences,
    }
    document["now"] = list(_now(document, is_realtime=group.realtime))
    return document


def text_of(document: Mapping[str, Any], /) -> str:
    """The same for people: a sentence a line."""
    lines = [f"{document['bot']}, as this router sees it:", *document["why"], *document["now"]]
    return "\n".join(lines) + "\n"


def _about_version(document: Mapping[str, Any]) -> str:
    inputs = document["inputs"]
    named = ", ".join(f"{name} {inputs[name]}" for name in ("group", "framework", "backbone", "pin") if inputs[name])
    return f"Version {document['version']} belongs to family {document['family']}: {named}."


def _moves(shard: ShardView) -> dict[str, object]:
    return {
        "goingTo": list(shard.going_to),
        "goingSinceEpoch": shard.going_since,
        "stillAnsweredBy": list(shard.lingering),
        "stillAnsweredUntilS": shard.lingering_until_s,
    }


def _seen_of(pool: PoolState, telemetry: Telemetry) -> dict[str, Any]:
    ago_s = time.monotonic() - pool.answered_s
    return {
        "connections": pool.origin.open_count,
        "idleConnections": pool.origin.idle_count,
        "answeredAgoS": round(ago_s, 3) if math.isfinite(ago_s) else None,
        "requests": sum(count for _, _, count in pool.counts.requests()),
        "errors": {cause: count for cause, count in pool.counts.errors() if count},
        "retries": {cause.value: count for cause, count in pool.counts.retries.items()},
        "lastErrors": [error.document() for error in telemetry.errors.of_pool(pool.route.name)],
    }


def _now(document: Mapping[str, Any], *, is_realtime: bool) -> Iterator[str]:
    for pool in document["pools"]:
        ago_s = pool["answeredAgoS"]
        answered = "has not answered this router yet" if ago_s is None else f"answered {ago_s:.3g} s ago"
        failed = ", ".join(f"{count} {cause}" for cause, count in pool["errors"].items()) or "none"
        yield (
            f"Pool {pool['name']} {answered}; {pool['inFlight']} requests in flight over {pool['connections']} "
            f"connections, {pool['requests']} since it is in the table, failed: {failed}."
        )
        if health := pool.get("health"):
            yield f"It is {health['state']}: {health['why']}."
    limits = document["limits"]
    cold = "" if is_realtime else f", and {limits['coldStartTimeoutS']:g} s more where its pool may be asleep"
    yield (
        f"A request has {limits['requestTimeoutS']:g} s{cold}; bodies have {limits['bodyBytes']} bytes at most, a pool "
        f"{limits['connectionsPerPool']} connections and {limits['waitingPerPool']} requests that wait for one."
    )
    for error in document["lastErrors"]:
        yield f"{error['at']}: {error['cause']}, {error['status'] or 'no status'}: {error['text'] or 'no text'}"
    for one in document["coldRequests"]:
        stages = ", ".join(f"{stage} {took_s * 1e3:.1f}" for stage, took_s in one["stagesS"].items())
        yield f"{one['at']}: waited for its {one['waitedFor']}, {one['tookS'] * 1e3:.1f} ms: {stages}."
