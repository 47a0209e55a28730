"""Where a bot is and why, as a document for people: what `/admin` shows."""

from __future__ import annotations

import asyncio

from botshard.sharding.catalog import Bot
from botshard.sharding.hashing import bot_hash, family_id
from botshard.sharding.ids import BotId
from router.following import Following
from router.pools import Pools
from router.standing import CHOSEN, standing_of
from router.table import BotRoute, Routes, hash_of

__all__ = ["explain_bot", "table_document"]


def explain_bot(
    bot_id: BotId, route: BotRoute | None, entry: Bot | None, /, *, routes: Routes, pools: Pools
) -> dict[str, object]:
    """Inputs of the computation, its steps, its result, and the reason in a sentence.

    Args:
        bot_id: which bot.
        route: by what its requests are routed; None: they are not, it is retired.
        entry: the whole catalog entry; None: it cannot be read now. One of the two is there.
        routes: what is in force.
        pools: what is in flight.
    """
    document: dict[str, object] = {"bot": bot_id, "tenant": None if entry is None else entry.tenant}
    if route is None:
        assert entry is not None  # noqa: S101 - what the caller answers for
        version, key = entry.serving.number, entry.serving.family_key
        family, hash_of_bot = family_id(key), bot_hash(bot_id)
    else:
        key, family, version = routes.served.of(route)
        hash_of_bot = hash_of(route)
    retired = route is None
    document |= {
        "version": version,
        "retired": retired,
        "inputs": {"group": key.group, "framework": key.framework, "backbone": key.backbone, "pin": key.pin},
        "family": family,
        "hash": f"{hash_of_bot:016x}",
    }
    table = routes.table
    if table is None:
        return {**document, "why": "no routing table has been read yet"}
    document["epoch"] = table.epoch
    found = table.explain(family, hash_of_bot)
    if retired:
        return {**document, "pools": [], "why": "the bot is retired: it is answered as unknown"}
    if found is None:
        return {**document, "pools": [], "why": f"family {family} is not in the routing table: it has no pool yet"}
    shard, family_routes = found
    routed = table.lookup(family, hash_of_bot)
    group = table.groups[key.group]
    now_s = asyncio.get_running_loop().time()
    target = family_routes.targets.get(shard)
    linger = family_routes.lingering.get(shard)
    document |= {
        "bits": family_routes.bits,
        "shard": shard,
        "policy": group.chosen_by,
        "pools": [
            {
                "name": pool.name,
                "url": pool.url,
                "inFlight": pools[pool.name].outstanding,
                "health": standing_of(pools[pool.name], now_s),
            }
            for pool in routed
        ],
        "goingTo": list(target.pools) if target and target.has_begun else [],
        "stillAnsweredBy": list(linger.pools) if linger else [],
    }
    chosen = CHOSEN[group.chosen_by]
    document["why"] = (
        f"the first {family_routes.bits} bits of the hash are shard {shard} of family {family}, which table "
        f"{table.epoch} routes to {', '.join(pool.name for pool in routed)}; a request goes to {chosen}"
    )
    return document


def table_document(routes: Routes, pools: Pools, following: Following, /) -> dict[str, object]:
    """The table in force with what this router has in flight."""
    table = routes.table
    document: dict[str, object] = {
        "ready": routes.ready,
        "epoch": 0 if table is None else table.epoch,
        "bots": len(routes.bots),
        "problems": following.problems,
    }
    if table is None:
        return document
    document["groups"] = {
        name: {
            "realtime": group.realtime,
            "requestTimeoutS": group.request_timeout_s,
            "coldStartTimeoutS": group.cold_start_timeout_s,
            "policy": group.chosen_by,
        }
        for name, group in table.groups.items()
    }
    document["families"] = {
        family.id: {
            "group": family.key.group,
            "framework": family.key.framework,
            "backbone": family.key.backbone,
            "pin": family.key.pin,
            "bits": family.bits,
            "shards": [list(names) for names in family.shards],
        }
        for family in table.families.values()
    }
    now_s = asyncio.get_running_loop().time()
    document["pools"] = [
        {
            "name": pool.route.name,
            "url": pool.route.url,
            "group": pool.route.group,
            "family": pool.route.family,
            "inFlight": pool.outstanding,
            "connections": pool.origin.open_count,
            "health": standing_of(pool, now_s),
        }
        for pool in pools
    ]
    return document
