"""Why a bot is where it is, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from botshard.cli.show_view import BotDetail, ShardView
from botshard.cli.world import World
from botshard.sharding.ids import GroupName
from botshard.sharding.residency import Residency
from botshard.sharding.units import format_duration_s

__all__ = ["Explanation", "explain_detail"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A bot in detail and the sentences about it, each step of the computation in its order."""

    why: tuple[str, ...]
    detail: BotDetail


def explain_detail(detail: BotDetail, world: World, /) -> Explanation:
    """The sentences about `detail`, which was made from `world`."""
    return Explanation(tuple(_sentences(detail, world)), detail)


def _sentences(detail: BotDetail, world: World) -> Iterator[str]:
    served = next((version for version in detail.versions if version.serving), detail.versions[0])
    chosen = "the newest" if detail.rollout == "latest" else "the one that its rollout is pinned to"
    yield (
        f"Version {served.number} ({chosen}) belongs to family {detail.family}: pool group {detail.group}, framework "
        f"{detail.framework}, {_named('backbone', detail.backbone)}, {_named('pin', detail.pin)}. Only bots with the "
        "same four share a pool with it."
    )
    if detail.retired:
        yield "It is retired: routers answer it as unknown, and no pool holds it. Publishing its folder brings it back."
        return
    if detail.cannot_be_placed is not None:
        yield f"The controller cannot place it: {detail.cannot_be_placed}."
    if detail.epoch is None:
        yield "No routing table can be read from the store, so there is no pool: does a shard controller run?"
        return
    shard = detail.shard
    if shard is None:
        yield (
            f"Routing table {detail.epoch} does not have the family yet: the controller makes its first pool, and "
            "until then requests are answered 503."
        )
        yield from (f"The controller waits: {sentence}" for sentence in world.controller.waiting)
        return
    yield _about_hash(detail, shard)
    yield from _about_pools(detail, shard, world)
    yield from _about_residency(detail, world)


def _about_hash(detail: BotDetail, shard: ShardView) -> str:
    if shard.bits == 0:
        return f"The hash of its id is {detail.hash}; the family has 0 bits, so that everything is shard 0."
    return (
        f"The hash of its id, {detail.hash}, begins with the bits {shard.prefix}; the family has {shard.bits} bits, so "
        f"it is in shard {shard.index} of {1 << shard.bits}."
    )


def _about_pools(detail: BotDetail, shard: ShardView, world: World) -> Iterator[str]:
    group = world.table.groups.get(GroupName(detail.group)) if world.table else None
    many = len(shard.routed) > 1
    choice = "the one with the fewest requests in flight" if group and group.realtime else "the first that answers"
    yield (
        f"Routing table {detail.epoch} routes that shard to {', '.join(shard.routed)}"
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
        left_s = max(0.0, (shard.lingering_until_s or 0.0) - world.now_s)
        yield (
            f"{', '.join(shard.lingering)} had it before and answers for {format_duration_s(left_s)} more, for routers "
            "that have not read the new table."
        )


def _about_residency(detail: BotDetail, world: World) -> Iterator[str]:
    live = [report for report in world.reports if world.is_live(report)]
    if not live:
        yield "None of these pools has a live replica now: the first request wakes one, which loads the bot."
        return
    states = [one.state for one in detail.replicas if one.live]
    resident = states.count(Residency.RESIDENT)
    rest = "." if resident else "; the first request loads it there."
    if Residency.LOADING in states:
        rest = " and is being loaded."
    yield f"It is resident on {resident} of {len(live)} live replicas of these pools{rest}"
    for replica in detail.replicas:
        if replica.error is not None and replica.live:
            yield f"Replica {replica.replica} says: {replica.error}."


def _named(kind: str, value: str | None) -> str:
    return f"no {kind}" if value is None else f"{kind} {value}"
