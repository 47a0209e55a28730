"""What is: pools as told to a home and as seen there, bots with their measured load, in one frozen snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.ids import BotId, Epoch, FamilyId, GroupName, PoolName
from botshard.sharding.routing import RoutingTable

__all__ = ["BotLoad", "FailedLoad", "PoolPhase", "PoolSpec", "PoolStatus", "Snapshot"]


class PoolPhase(StrEnum):
    """How a pool is, in one word."""

    STARTING = "starting"
    """Has no ready replica yet and is meant to have one."""
    READY = "ready"
    """Has as many ready replicas as it wants."""
    ASLEEP = "asleep"
    """At zero, and wakes at the first request."""
    DEGRADED = "degraded"
    """Has fewer ready replicas than it wants, or fails to start them; the message says why."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """A pool as it is wanted: everything a home (this machine, a cluster) needs to make it."""

    name: PoolName
    family: FamilyId
    key: FamilyKey
    group: PoolGroupSpec


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool as its home sees it."""

    name: PoolName
    url: str | None
    """Where it answers; None until that is known. It may be asleep there."""
    phase: PoolPhase
    replicas: int = 0
    ready_replicas: int = 0
    message: str = ""
    members: tuple[str, ...] = ()
    """Names of the live replicas, ready or not; reports of others are of the past."""


@dataclass(frozen=True, slots=True)
class BotLoad:
    """One bot as placement weighs it."""

    id: BotId
    hash: int
    """`hashing.bot_hash(id)`."""
    key: FamilyKey
    footprint_bytes: int
    """Measured; where it was never resident, estimated from hints or the artifact's size."""
    rate_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FailedLoad:
    """A bot that some live replica of a pool does not have in memory although it tried to load it, or is trying."""

    reason: str | None
    """Why the load failed; None: it has not ended yet."""
    everywhere: bool
    """Whether it failed on every live replica of the pool."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a plan is made from, as it was at one moment."""

    groups: Mapping[GroupName, PoolGroupSpec]
    bots: Collection[BotLoad]
    """Every bot that is to be served; retired ones are not in it. Best as `loads.BotLoads`, whose sums are kept."""
    table: RoutingTable | None
    """As published; None before the first time."""
    pools: Mapping[PoolName, PoolStatus] = field(default_factory=dict)
    warmed: Mapping[PoolName, Epoch] = field(default_factory=dict)
    """Up to which epoch every live replica of a pool has its bots resident; absent where a pool has no live replica."""
    leaving: frozenset[PoolName] = frozenset()
    """Pools that an operator drains: no shard is placed there, and their names are given to no new pool."""
    more_pools: Mapping[FamilyId, int] = field(default_factory=dict)
    """How many pools an operator wants a family to have at least, whatever its bots need."""
    failing: Mapping[PoolName, Mapping[BotId, FailedLoad]] = field(default_factory=dict)
    """Bots that live replicas could not load, by pool; only pools of shards that are on their way need be in it."""
    quarantined: frozenset[PoolName] = frozenset()
    """Pools that an operator wants no request to go to any more, now; they are among those that are `leaving`."""
