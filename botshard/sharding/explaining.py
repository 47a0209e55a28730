"""Where the routing table puts a bot and why, as values and in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from botshard.sharding.hashing import HASH_BITS, rank_pools
from botshard.sharding.ids import FamilyId, PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes, RoutingTable
from botshard.sharding.units import format_duration_s

__all__ = ["PoolRole", "PoolView", "ShardView", "about_hash", "about_pools", "shard_view"]


class PoolRole(StrEnum):
    """What a pool is for a shard."""

    ROUTED = "routed"
    """Routers send its requests there."""
    WARMING = "warming"
    """It loads the shard's bots and will be routed."""
    PLANNED = "planned"
    """It will load the shard's bots when it is the shard's turn."""
    LINGERING = "lingering"
    """It was routed before, and answers routers that do not know that yet."""
    OTHER = "other"
    """It serves other shards of the family."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool of a bot's family, as it stands to the bot's shard."""

    pool: str
    url: str
    role: PoolRole
    rank: int
    """Place in the shard's rendezvous order; 1 is the best."""


@dataclass(frozen=True, slots=True)
class ShardView:
    """Where the routing table puts a bot."""

    bits: int
    index: int
    prefix: str
    """The first bits of the hash in binary; empty with none."""
    pools: tuple[PoolView, ...]
    """All pools of the family in rendezvous order."""
    routed: tuple[str, ...]
    """In the order in which a router takes them."""
    going_to: tuple[str, ...] = ()
    """Pools that the shard will be routed to once they have warmed; empty: it stays."""
    going_since: int | None = None
    """The epoch that let it go; None: its turn has not come."""
    lingering: tuple[str, ...] = ()
    lingering_until_s: float | None = None
    """Seconds since 1970."""


def shard_view(table: RoutingTable, family: FamilyId, hash_of_bot: int, /) -> ShardView | None:
    """The shard of a bot with its pools; None where the table does not have the family."""
    found = table.explain(family, hash_of_bot)
    if found is None:
        return None
    shard, routes = found
    target, linger = routes.targets.get(shard), routes.lingering.get(shard)
    order = rank_pools(shard, routes.bits, routes.urls)
    return ShardView(
        bits=routes.bits,
        index=shard,
        prefix=f"{hash_of_bot:0{HASH_BITS}b}"[: routes.bits],
        pools=tuple(
            PoolView(name, routes.urls[name], _role(name, shard, routes), rank) for rank, name in enumerate(order, 1)
        ),
        routed=routes.shards[shard],
        going_to=target.pools if target else (),
        going_since=target.since if target and target.has_begun else None,
        lingering=linger.pools if linger else (),
        lingering_until_s=linger.until_s if linger else None,
    )


def _role(pool: PoolName, shard: ShardIndex, routes: FamilyRoutes) -> PoolRole:
    if pool in routes.shards[shard]:
        return PoolRole.ROUTED
    target, linger = routes.targets.get(shard), routes.lingering.get(shard)
    if target is not None and target.has_begun and pool in target.pools:
        return PoolRole.WARMING
    if linger is not None and pool in linger.pools:
        return PoolRole.LINGERING
    return PoolRole.PLANNED if target is not None and pool in target.pools else PoolRole.OTHER


def about_hash(hash_hex: str, shard: ShardView, /) -> str:
    """How the shard comes from the hash of the bot's id."""
    if shard.bits == 0:
        return f"The hash of its id is {hash_hex}; the family has 0 bits, so that everything is shard 0."
    return (
        f"The hash of its id, {hash_hex}, begins with the bits {shard.prefix}; the family has {shard.bits} bits, so "
        f"it is in shard {shard.index} of {1 << shard.bits}."
    )


def about_pools(shard: ShardView, /, *, epoch: int, realtime: bool, now_s: float) -> Iterator[str]:
    """Which pools the shard has, which it will have, which it had, and why they are not others."""
    many = len(shard.routed) > 1
    choice = "the one with the fewest requests in flight" if realtime else "the first that answers"
    yield (
        f"Routing table {epoch} routes that shard to {', '.join(shard.routed)}"
        + (f"; a request goes to {choice}." if many else ".")
    )
    order = [pool.pool for pool in shard.pools]
    passed = [name for name in order[: len(shard.routed)] if name not in shard.routed]
    if passed:
        yield (
            f"In the rendezvous order of the shard {', '.join(passed)} would come first: it had no room for the shard, "
            "or the shard stayed where it was, since a move must pay for itself."
        )
    if shard.going_to and shard.going_since is None:
        yield (
            f"It will move to {', '.join(shard.going_to)} when its turn comes: only so many bots come to a pool at the "
            "same time, the busiest shards first."
        )
    elif shard.going_to:
        yield (
            f"It is on its way to {', '.join(shard.going_to)} since table {shard.going_since}: routers go there as "
            "soon as every replica there has loaded the shard's bots."
        )
    if shard.lingering:
        left_s = max(0.0, (shard.lingering_until_s or 0.0) - now_s)
        yield (
            f"{', '.join(shard.lingering)} had it before and answers for {format_duration_s(left_s)} more, for routers "
            "that have not read the new table."
        )
