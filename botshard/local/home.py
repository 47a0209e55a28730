"""Where pools live on one machine, as two documents: what the controller wants and what the keeper sees.

The controller writes `pools.json`, the keeper makes it so and writes `status.json`. Neither calls the other, so each
may die at any time, and both read where the other stands when they come back: what a custom resource with spec and
status is on a cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import PoolPhase, PoolSpec, PoolStatus
from botshard.sharding.groups import PoolGroupSpec, RoutePolicy
from botshard.sharding.ids import (
    FamilyId,
    Framework,
    GroupName,
    PoolName,
    check_framework,
    check_group_name,
    check_pool_name,
)
from botshard.sharding.reading import Reader, parse_json
from botshard.store.base import ObjectNotFoundError, ObjectStore

__all__ = ["LocalHome", "decode_specs", "decode_statuses", "encode_specs", "encode_statuses"]

_SPECS = "pools.json"
_STATUSES = "status.json"
_SPECS_FORMAT = "botshard.local-pools/v1"
_STATUSES_FORMAT = "botshard.local-status/v1"


class LocalHome:
    """Both documents, in a file store below the stack's run folder. Reads cost one `stat` when nothing has changed."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._specs_seen: tuple[str | None, tuple[PoolSpec, ...] | None] = (None, None)
        self._statuses_seen: tuple[str | None, Mapping[PoolName, PoolStatus]] = (None, {})

    def specs(self) -> tuple[PoolSpec, ...] | None:
        """The pools that are wanted; None before the controller has said so.

        Raises: StoreError, InvalidDocumentError.
        """
        etag, specs = self._specs_seen
        try:
            blob = self._store.get_if_changed(_SPECS, etag)
        except ObjectNotFoundError:
            return None
        if blob is not None:
            specs = decode_specs(blob.data)
            self._specs_seen = (blob.etag, specs)
        return specs

    def write_specs(self, specs: Iterable[PoolSpec], /) -> None:
        """Say which pools are wanted, all of them. Raises: StoreError."""
        self._store.put(_SPECS, encode_specs(specs))

    def statuses(self) -> Mapping[PoolName, PoolStatus]:
        """How the pools are; empty before the keeper has said so.

        Raises: StoreError, InvalidDocumentError.
        """
        etag, statuses = self._statuses_seen
        try:
            blob = self._store.get_if_changed(_STATUSES, etag)
        except ObjectNotFoundError:
            return {}
        if blob is not None:
            statuses = decode_statuses(blob.data)
            self._statuses_seen = (blob.etag, statuses)
        return statuses

    def write_statuses(self, statuses: Iterable[PoolStatus], /) -> None:
        """Say how the pools are, all of them. Raises: StoreError."""
        self._store.put(_STATUSES, encode_statuses(statuses))


def encode_specs(specs: Iterable[PoolSpec], /) -> bytes:
    """`pools.json`."""
    pools = [
        {
            "name": spec.name,
            "family": spec.family,
            "framework": spec.key.framework,
            "backbone": spec.key.backbone,
            "pin": spec.key.pin,
            "group": {
                "name": spec.group.name,
                "realtime": spec.group.realtime,
                "minReplicas": spec.group.min_replicas,
                "maxReplicas": spec.group.max_replicas,
                "shardReplicas": spec.group.shard_replicas,
                "poolMemoryBytes": spec.group.pool_memory_bytes,
                "overcommit": spec.group.overcommit,
                "poolReloadsPerS": spec.group.pool_reloads_per_s,
                "botsPerPool": spec.group.bots_per_pool,
                "poolRatePerS": spec.group.pool_rate_per_s,
                "requestTimeoutS": spec.group.request_timeout_s,
                "coldStartTimeoutS": spec.group.cold_start_timeout_s,
                "idleAfterS": spec.group.idle_after_s,
                "botIdleAfterS": spec.group.bot_idle_after_s,
                "concurrency": spec.group.concurrency,
                "policy": spec.group.policy,
                "blastRadiusLimit": spec.group.blast_radius_limit,
            },
        }
        for spec in sorted(specs, key=lambda spec: spec.name)
    ]
    return json.dumps({"format": _SPECS_FORMAT, "pools": pools}).encode()


def decode_specs(data: bytes, /) -> tuple[PoolSpec, ...]:
    """The pools of `pools.json`. Raises: InvalidDocumentError."""
    reader = Reader.of(parse_json(data, _SPECS), _SPECS)
    if reader.value.get("format") != _SPECS_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(_SPECS_FORMAT))
    specs = tuple(_read_spec(pool) for pool in reader.objects("pools"))
    reader.finish(_SPECS)
    return specs


def _read_spec(pool: Reader) -> PoolSpec:
    group = pool.inner("group")
    spec = PoolGroupSpec(
        name=GroupName(group.text("name", check_group_name)),
        realtime=group.boolean("realtime"),
        min_replicas=group.integer("minReplicas"),
        max_replicas=group.integer("maxReplicas", at_least=1),
        shard_replicas=group.integer("shardReplicas", at_least=1),
        pool_memory_bytes=group.integer("poolMemoryBytes", at_least=1),
        overcommit=_number(group, "overcommit", 1.0),
        pool_reloads_per_s=_number(group, "poolReloadsPerS", 0.0),
        bots_per_pool=group.integer("botsPerPool", at_least=1),
        pool_rate_per_s=group.number("poolRatePerS"),
        request_timeout_s=group.number("requestTimeoutS"),
        cold_start_timeout_s=group.number("coldStartTimeoutS"),
        idle_after_s=group.number("idleAfterS"),
        bot_idle_after_s=_number(group, "botIdleAfterS", 600.0),
        concurrency=group.integer("concurrency", at_least=1),
        policy=_policy(group),
        blast_radius_limit=group.number("blastRadiusLimit")
        if group.value.get("blastRadiusLimit") is not None
        else None,
    )
    key = FamilyKey(
        spec.name,
        Framework(pool.text("framework", check_framework)),
        pool.optional_text("backbone"),
        pool.optional_text("pin"),
    )
    return PoolSpec(PoolName(pool.text("name", check_pool_name)), FamilyId(pool.text("family")), key, spec)


def _policy(group: Reader) -> RoutePolicy | None:
    """What routers choose by; a document of an earlier version does not say."""
    text = group.optional_text("policy")
    if text is None or text in list(RoutePolicy):
        return None if text is None else RoutePolicy(text)
    group.refuse("policy", text, f"one of {', '.join(RoutePolicy)}")
    return None


def _number(group: Reader, key: str, default: float) -> float:
    """A number that a document of an earlier version does not have."""
    return group.number(key) if key in group.value else default


def _read_members(pool: Reader) -> tuple[str, ...]:
    members = pool.items("members")
    for index, member in enumerate(members):
        if not isinstance(member, str):
            pool.refuse(f"members[{index}]", member, "a replica's name")
    return tuple(str(member) for member in members)


def encode_statuses(statuses: Iterable[PoolStatus], /) -> bytes:
    """`status.json`."""
    pools = [
        {
            "name": status.name,
            "url": status.url,
            "phase": status.phase,
            "replicas": status.replicas,
            "readyReplicas": status.ready_replicas,
            "message": status.message,
            "members": list(status.members),
        }
        for status in sorted(statuses, key=lambda status: status.name)
    ]
    return json.dumps({"format": _STATUSES_FORMAT, "pools": pools}).encode()


def decode_statuses(data: bytes, /) -> Mapping[PoolName, PoolStatus]:
    """The pools of `status.json` by name. Raises: InvalidDocumentError."""
    reader = Reader.of(parse_json(data, _STATUSES), _STATUSES)
    if reader.value.get("format") != _STATUSES_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(_STATUSES_FORMAT))
    statuses = {}
    for pool in reader.objects("pools"):
        name = PoolName(pool.text("name", check_pool_name))
        phase = pool.text("phase")
        if phase not in set(PoolPhase):
            pool.refuse("phase", phase, "one of " + ", ".join(PoolPhase))
            phase = PoolPhase.DEGRADED
        statuses[name] = PoolStatus(
            name=name,
            url=pool.optional_text("url"),
            phase=PoolPhase(phase),
            replicas=pool.integer("replicas"),
            ready_replicas=pool.integer("readyReplicas"),
            message=pool.text("message"),
            members=_read_members(pool),
        )
    reader.finish(_STATUSES)
    return statuses
