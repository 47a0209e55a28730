"""Why a bot is where it is, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from botshard.cli.show_view import BotDetail
from botshard.cli.world import World
from botshard.sharding.explaining import ShardView, about_hash, about_pools
from botshard.sharding.ids import GroupName, PoolName
from botshard.sharding.reloads import SUSTAINED_S
from botshard.sharding.residency import Residency
from botshard.sharding.units import format_duration_s

__all__ = ["Explanation", "explain_detail"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A bot in detail and the sentences about it, each step of the computation in its order."""

    why: tuple[str, ...]
    detail: BotDetail
    router: Mapping[str, object] | None = None
    """What a router tells of the bot, as it does; None: there is none."""


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
    yield about_hash(detail.hash, shard)
    group = world.table.groups.get(GroupName(detail.group)) if world.table else None
    is_realtime = group is not None and group.realtime
    yield from about_pools(shard, epoch=detail.epoch, realtime=is_realtime, now_s=world.now_s)
    yield from _about_residency(detail, world)
    yield from _about_growth(shard, world)


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


def _about_growth(shard: ShardView, world: World) -> Iterator[str]:
    yield (
        "Request rate scales the replicas of a pool; footprint, the bound on bots and a reload rate over the threshold "
        "add pools."
    )
    spec = next((world.specs[name] for name in map(PoolName, shard.routed) if name in world.specs), None)
    if spec is None or not spec.group.pool_reloads_per_s:
        return
    live = [report for report in world.reports if world.is_live(report) and report.pool in shard.routed]
    reloads_per_s = sum(report.reloads_per_s for report in live)
    yield (
        f"Bots that had left the memory of these pools are loaded again {reloads_per_s:.2f} times a second; more than "
        f"{spec.group.pool_reloads_per_s:g} in one pool for {format_duration_s(SUSTAINED_S)} add a pool."
    )


def _named(kind: str, value: str | None) -> str:
    return f"no {kind}" if value is None else f"{kind} {value}"
