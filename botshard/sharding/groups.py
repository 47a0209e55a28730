"""Pool groups: what an operator promises to a kind of bots, and the bounds of one pool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from botshard.sharding.ids import GroupName
from botshard.sharding.units import MEBIBYTE

__all__ = ["MAX_SHARD_REPLICAS", "PoolGroupSpec", "RoutePolicy"]

MAX_SHARD_REPLICAS = 4
"""More pools a shard than this cost memory without making a group's blast radius smaller in practice."""


class RoutePolicy(StrEnum):
    """By what a router chooses among the pools of a shard."""

    FIRST = "first"
    """The first that is healthy: the others can sleep."""
    LEAST_OUTSTANDING = "least-outstanding"
    """Fewest requests in flight."""
    RESPONSE_TIME = "response-time"
    """Least in flight, weighted by how long the pool takes to answer lately."""
    DEVICE_MEMORY = "device-memory"
    """Least in flight, weighted by the memory that is free on the pool's GPU."""


@dataclass(frozen=True, slots=True)
class PoolGroupSpec:
    """One pool group, checked. Read from YAML by `botshard.pool_groups`."""

    name: GroupName
    realtime: bool
    """Realtime pools never go below `min_replicas` ≥ 1 and are ready when their bots are; others sleep at zero."""
    min_replicas: int = 0
    max_replicas: int = 4
    shard_replicas: int = 1
    """k: in how many pools a shard lives, 1 … 4."""
    pool_memory_bytes: int = 512 * MEBIBYTE
    """Bound on the measured footprint of the bots of one pool; the libraries' own memory is not in it."""
    overcommit: float = 1.0
    """Bots placed in one pool may need this multiple of its memory. Over 1, bots of a realtime pool leave memory too
    and are loaded again when somebody asks for them; at 1, everything that a realtime pool has is resident."""
    pool_reloads_per_s: float = 0.0
    """Loads a second of bots that had left one pool's memory for others, over all its replicas. More of them, for
    minutes, add pools to the family; 0: they never do."""
    bots_per_pool: int = 500
    """Bound on bots in one pool: what bounds its start-up and the damage of its loss."""
    pool_rate_per_s: float = 0.0
    """Bound on the requests a second of the bots of one pool, over all its replicas; 0: no bound."""
    request_timeout_s: float = 10.0
    """Deadline of one request, from the router's first byte to its last."""
    cold_start_timeout_s: float = 30.0
    """How long a request may wait for a pool that starts from zero."""
    idle_after_s: float = 60.0
    """A non-realtime pool without requests for so long goes to zero."""
    bot_idle_after_s: float = 600.0
    """A bot that nobody has asked for so long leaves the memory of its pool, unless that is realtime."""
    concurrency: int = 16
    """Requests in flight that one replica is meant to carry; more of them add replicas."""
    policy: RoutePolicy | None = None
    """By what routers choose among the pools of a shard; None: least outstanding if realtime, else the first."""
    blast_radius_limit: float | None = None
    """Share of the group's other bots that may lose all their pools with those of one bot, at most; None: no limit."""
