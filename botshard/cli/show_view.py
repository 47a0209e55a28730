"""One bot in detail, and where it is and why. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from botshard.cli.bot_views import BotState, ReplicaView, VersionView, bot_state, replica_views, version_views
from botshard.cli.world import World
from botshard.sharding.catalog import Bot, BotSpec, TensorSpec
from botshard.sharding.hashing import HASH_BITS, bot_hash, family_id, rank_pools
from botshard.sharding.ids import PoolName, ShardIndex
from botshard.sharding.routing import FamilyRoutes
from botshard.store.layout import catalog_key_of

__all__ = [
    "BotDetail",
    "CostView",
    "ModelView",
    "PoolRole",
    "PoolView",
    "ShardView",
    "detail_of",
    "model_view",
    "shard_of_bot",
]


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


@dataclass(frozen=True, slots=True)
class ModelView:
    """The served version as its author declared it."""

    format: str
    architecture: str | None
    inputs: tuple[str, ...]
    """`name datatype [shape]`."""
    outputs: tuple[str, ...]
    preprocess: tuple[str, ...]
    """Names of the steps."""
    postprocess: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostView:
    """What a bot has cost, over its replicas: those that run, or where none does, those that ran last."""

    since_s: int
    """Seconds since 1970 when the first of them was asked. A replica that starts again begins again at nothing."""
    requests: int
    rows: int
    cpu_s: float
    cpu_per_row_s: float | None
    load_s: float | None
    """Of its slowest last load; None: it is not in memory."""


@dataclass(frozen=True, slots=True)
class BotDetail:
    """Everything that is known of a bot."""

    bot: str
    tenant: str
    state: BotState
    retired: bool
    rollout: str
    """`latest`, or the number of the version that it is pinned to."""
    serving: int | None
    """None: it is retired."""
    group: str
    framework: str
    backbone: str | None
    pin: str | None
    family: str
    hash: str
    """16 hex digits."""
    catalog_object: str
    """Key of the object in the store that holds its entry."""
    epoch: int | None
    """Of the routing table; None: there is none."""
    shard: ShardView | None
    """None: the family is not in the routing table."""
    footprint_bytes: int | None
    rate_per_s: float
    costs: CostView | None
    """None: it was not asked where replicas run, or none has told yet."""
    replicas: tuple[ReplicaView, ...]
    versions: tuple[VersionView, ...]
    cannot_be_placed: str | None
    """The controller's reason."""
    model: ModelView | None = None
    """None: the artifact's manifest cannot be read (then there is a problem)."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """What in the store cannot be read, by key."""


def detail_of(bot: Bot, world: World, /, *, model: ModelView | None = None) -> BotDetail:
    """Put together what catalog, table, reports and controller say."""
    key = bot.serving.family_key
    seen = world.seen_of(bot.id)
    replicas = replica_views(bot.id, world, seen)
    return BotDetail(
        bot=bot.id,
        tenant=bot.tenant,
        state=bot_state(bot, world, seen),
        retired=bot.retired,
        rollout="latest" if bot.rollout.version is None else str(bot.rollout.version),
        serving=None if bot.retired else bot.serving.number,
        group=key.group,
        framework=key.framework,
        backbone=key.backbone,
        pin=key.pin,
        family=family_id(key),
        hash=f"{bot_hash(bot.id):016x}",
        catalog_object=catalog_key_of(bot.id),
        epoch=world.table.epoch if world.table else None,
        shard=shard_of_bot(bot, world),
        footprint_bytes=max((replica.footprint_bytes for replica in replicas), default=0) or None,
        rate_per_s=round(sum(replica.rate_per_s for replica in replicas if replica.live), 4),
        costs=_costs(replicas),
        replicas=replicas,
        versions=version_views(bot),
        cannot_be_placed=world.controller.refused.get(bot.id),
        model=model,
        problems=world.problems,
    )


def _costs(replicas: tuple[ReplicaView, ...]) -> CostView | None:
    counted = [one for one in replicas if one.live] or list(replicas)
    costs = [one.cost for one in counted if one.cost is not None]
    if not costs:
        return None
    cpu_s, rows = sum(cost.cpu_s for cost in costs), sum(cost.rows for cost in costs)
    return CostView(
        since_s=min(cost.since_s for cost in costs),
        requests=sum(cost.requests for cost in costs),
        rows=rows,
        cpu_s=round(cpu_s, 6),
        cpu_per_row_s=round(cpu_s / rows, 9) if rows else None,
        load_s=max(one.load_s for one in counted) or None,
    )


def model_view(spec: BotSpec, /) -> ModelView:
    """What the author declared, shortened."""
    architecture = spec.model.get("architecture")
    return ModelView(
        format=str(spec.model["format"]),
        architecture=str(architecture.get("name")) if isinstance(architecture, Mapping) else None,
        inputs=tuple(map(_tensor, spec.inputs)),
        outputs=tuple(map(_tensor, spec.outputs)),
        preprocess=tuple(str(step["step"]) for step in spec.preprocess),
        postprocess=tuple(str(step["step"]) for step in spec.postprocess),
    )


def _tensor(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.datatype} {list(tensor.shape)}"


def shard_of_bot(bot: Bot, world: World, /) -> ShardView | None:
    """The bot's shard with its pools; None where the table does not have the family."""
    hash_of_bot = bot_hash(bot.id)
    found = world.table.explain(family_id(bot.serving.family_key), hash_of_bot) if world.table else None
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
