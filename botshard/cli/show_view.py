"""One bot in detail, and where it is and why. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botshard.cli.bot_views import BotState, ReplicaView, VersionView, bot_state, replica_views, version_views
from botshard.cli.world import World
from botshard.sharding.catalog import Bot, BotSpec, TensorSpec
from botshard.sharding.explaining import ShardView, shard_view
from botshard.sharding.hashing import bot_hash, family_id
from botshard.store.layout import catalog_key_of

__all__ = [
    "BotDetail",
    "CostView",
    "ModelView",
    "detail_of",
    "model_view",
    "shard_of_bot",
]


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
    return shard_view(world.table, family_id(bot.serving.family_key), bot_hash(bot.id)) if world.table else None
