"""Routing table and catalog objects, to bytes and back. A document is accepted whole or refused with every problem.

The form is compact JSON: any language reads it, a person can too, and 500 pools stay far under a megabyte because a
family's pools are named once and its shards hold indices. Readers refuse fields that they do not know and formats of
another version, so that an old process never half-understands a new table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from botshard.sharding.catalog import Bot, FamilyKey, ResourceHints, Rollout, Version
from botshard.sharding.errors import Problem
from botshard.sharding.groups import RoutePolicy
from botshard.sharding.hashing import MAX_SHARD_BITS, family_id
from botshard.sharding.ids import (
    BotId,
    Epoch,
    FamilyId,
    Framework,
    GroupName,
    PoolName,
    ShardIndex,
    TenantId,
    VersionNumber,
    check_bot_id,
    check_framework,
    check_group_name,
    check_label,
    check_pool_name,
    check_tenant_id,
)
from botshard.sharding.reading import Reader, parse_json
from botshard.sharding.routing import FamilyRoutes, GroupRoute, Linger, RoutingTable, Target
from botshard.sharding.well_formed import KnownKeys, well_formed_bot

__all__ = ["CATALOG_FORMAT", "TABLE_FORMAT", "decode_catalog", "decode_table", "encode_catalog", "encode_table"]

TABLE_FORMAT = "botshard.table/v1"
CATALOG_FORMAT = "botshard.catalog/v1"

_DIGEST_DIGITS = frozenset("0123456789abcdef")
# Printable ASCII: it becomes part of request lines and log lines as it stands.
_URL = re.compile(r"https?://[!-.0-~](?:[!-~]*[!-.0-~])?\Z")
_SHARD = re.compile(r"(?:0|[1-9][0-9]{0,6})\Z")
_KEY_FIELDS = ("group", "framework", "backbone", "pin")
_VERSION_FIELDS = ("number", "artifact", "bytes", *_KEY_FIELDS, "publishedAtS", "memoryBytes", "ratePerS")


def _to_bytes(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


# ── routing table ────────────────────────────────────────────────────────────────────────────────────────────────────


def encode_table(table: RoutingTable, /) -> bytes:
    """The bytes of a table. Equal tables give equal bytes."""
    return _to_bytes(
        {
            "format": TABLE_FORMAT,
            "epoch": table.epoch,
            "groups": {name: _group_document(group) for name, group in sorted(table.groups.items())},
            "families": [_family_document(table.families[name]) for name in sorted(table.families)],
        }
    )


def _group_document(group: GroupRoute) -> dict[str, object]:
    document: dict[str, object] = {
        "realtime": group.realtime,
        "requestTimeoutS": float(group.request_timeout_s),
        "coldStartTimeoutS": float(group.cold_start_timeout_s),
    }
    if group.policy is not None:
        document["policy"] = str(group.policy)
    return document


def _family_document(family: FamilyRoutes) -> dict[str, object]:
    names = sorted(family.urls)
    index = {name: position for position, name in enumerate(names)}
    document: dict[str, object] = {**_key_document(family.key), "bits": family.bits}
    document["pools"] = [{"name": name, "url": family.urls[name]} for name in names]
    document["shards"] = [[index[name] for name in pools] for pools in family.shards]
    if family.targets:
        document["targets"] = {
            str(shard): {"pools": [index[name] for name in target.pools], "since": target.since}
            for shard, target in sorted(family.targets.items())
        }
    if family.lingering:
        document["lingering"] = {
            str(shard): {"pools": [index[name] for name in linger.pools], "untilS": float(linger.until_s)}
            for shard, linger in sorted(family.lingering.items())
        }
    return document


def decode_table(data: bytes, /, name: str = "routing table") -> RoutingTable:
    """The table in `data`; `name` says which document it is in the error.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, name), name)
    _check_format(reader, TABLE_FORMAT, name)
    reader.only("format", "epoch", "groups", "families")
    epoch = Epoch(reader.integer("epoch", at_least=1))
    groups = {}
    for group_name, group in reader.members("groups"):
        reader.note(check_group_name(group_name, group.path))
        group.only("realtime", "requestTimeoutS", "coldStartTimeoutS", "policy")
        groups[GroupName(group_name)] = GroupRoute(
            realtime=group.boolean("realtime"),
            request_timeout_s=group.number("requestTimeoutS", at_least=0.001),
            cold_start_timeout_s=group.number("coldStartTimeoutS"),
            policy=_read_policy(group),
        )
    families: dict[FamilyId, FamilyRoutes] = {}
    pool_owners: dict[PoolName, str] = {}
    for family_reader in reader.objects("families"):
        family = _read_family(family_reader, epoch)
        if family is None:
            continue
        if family.id in families:
            reader.note(Problem.of(family_reader.path, family.id, "a family that is not in the table already"))
        if family.key.group not in groups:
            family_reader.refuse("group", family.key.group, f"a group of this table ({', '.join(groups) or 'none'})")
        for pool in family.urls:
            if pool in pool_owners:
                family_reader.refuse("pools", pool, f"pools of this family only, not one of {pool_owners[pool]}")
            pool_owners[pool] = family_reader.path
        families[family.id] = family
    reader.finish(name)
    return RoutingTable(epoch, groups, families)


def _read_policy(reader: Reader) -> RoutePolicy | None:
    text = reader.optional_text("policy")
    if text is None:
        return None
    try:
        return RoutePolicy(text)
    except ValueError:
        reader.refuse("policy", text, f"one of {', '.join(RoutePolicy)}")
        return None


def _read_family(reader: Reader, epoch: Epoch) -> FamilyRoutes | None:
    problems_before = len(reader.problems)
    reader.only(*_KEY_FIELDS, "bits", "pools", "shards", "targets", "lingering")
    key = _read_key(reader)
    bits = reader.integer("bits", at_most=MAX_SHARD_BITS)
    urls: dict[PoolName, str] = {}
    names: list[PoolName] = []
    for pool in reader.objects("pools"):
        pool.only("name", "url")
        pool_name = PoolName(pool.text("name", check_pool_name))
        url = pool.text("url")
        if not _URL.match(url):
            pool.refuse("url", url, "an http or https URL without a slash at its end")
        if pool_name in urls:
            pool.refuse("name", pool_name, "a pool that is not in the list already")
        urls[pool_name] = url
        names.append(pool_name)
    rows = reader.items("shards")
    if len(rows) != 1 << bits:
        reader.refuse("shards", len(rows), f"{1 << bits} lists of pool indices, since bits is {bits}")
    shards = tuple(_read_pools(reader, f"shards[{index}]", row, names) for index, row in enumerate(rows))
    targets = {}
    if "targets" in reader.value:
        for text, target in reader.members("targets"):
            shard = _read_shard(target, text, bits)
            target.only("pools", "since")
            pools = _read_pools(target, "pools", target.value.get("pools"), names)
            targets[shard] = Target(pools, Epoch(target.integer("since", at_most=epoch)))
    lingering = {}
    if "lingering" in reader.value:
        for text, linger in reader.members("lingering"):
            shard = _read_shard(linger, text, bits)
            linger.only("pools", "untilS")
            pools = _read_pools(linger, "pools", linger.value.get("pools"), names)
            lingering[shard] = Linger(pools, linger.number("untilS"))
    if len(reader.problems) > problems_before:
        return None
    return FamilyRoutes(family_id(key), key, bits, urls, shards, targets, lingering)


def _read_pools(reader: Reader, key: str, row: object, names: list[PoolName]) -> tuple[PoolName, ...]:
    expected = f"a list of different indices of the {len(names)} pools, at least one"
    if not isinstance(row, list) or not row or len(set(map(str, row))) != len(row):
        reader.refuse(key, row, expected)
        return ()
    pools = []
    for index in row:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(names):
            reader.refuse(key, row, expected)
            return ()
        pools.append(names[index])
    return tuple(pools)


def _read_shard(reader: Reader, text: str, bits: int) -> ShardIndex:
    if _SHARD.match(text) and int(text) < 1 << bits:
        return ShardIndex(int(text))
    reader.note(Problem.of(reader.path, text, f"a shard from 0 to {(1 << bits) - 1}"))
    return ShardIndex(0)


# ── catalog objects ──────────────────────────────────────────────────────────────────────────────────────────────────


def encode_catalog(revision: int, bots: Iterable[Bot], /) -> bytes:
    """The bytes of one catalog object. `revision` grows with every write: equal content never has an equal ETag.

    Each bot stands on a line of its own, so that of a changed object only the lines that differ need to be read.
    """
    frame = _to_bytes({"format": CATALOG_FORMAT, "revision": revision, "bots": {}})
    lines = (_to_bytes({bot.id: _bot_document(bot)})[1:-1] for bot in sorted(bots, key=lambda bot: bot.id))
    return b"\n".join((frame[:-2], b",\n".join(lines), frame[-2:]))


def _bot_document(bot: Bot) -> dict[str, object]:
    document: dict[str, object] = {"tenant": bot.tenant}
    if bot.rollout.version is not None:
        document["rollout"] = bot.rollout.version
    if bot.retired:
        document["retired"] = True
    document["versions"] = [
        {
            "number": version.number,
            "artifact": version.artifact,
            "bytes": version.size_bytes,
            **_key_document(version.family_key),
            "publishedAtS": version.published_at_s,
            **_hints_document(version.resources),
        }
        for version in bot.versions
    ]
    return document


def _hints_document(hints: ResourceHints) -> dict[str, object]:
    document: dict[str, object] = {}
    if hints.memory_bytes is not None:
        document["memoryBytes"] = hints.memory_bytes
    if hints.rate_per_s is not None:
        document["ratePerS"] = float(hints.rate_per_s)
    return document


def decode_catalog(data: bytes, /, name: str = "catalog object") -> tuple[int, tuple[Bot, ...]]:
    """Revision and bots of one catalog object; `name` says which document it is in the error.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, name), name)
    _check_format(reader, CATALOG_FORMAT, name)
    reader.only("format", "revision", "bots")
    revision = reader.integer("revision", at_least=1)
    bots = []
    keys: KnownKeys = {}
    for bot_id, entry in reader.members("bots"):
        if reader.note(check_bot_id(bot_id, entry.path)):
            bot = well_formed_bot(BotId(bot_id), entry.value, keys)
            bots.append(bot or _read_bot(BotId(bot_id), entry, keys))
    reader.finish(name)
    return revision, tuple(bots)


def _read_bot(bot_id: BotId, reader: Reader, keys: KnownKeys) -> Bot:
    reader.only("tenant", "rollout", "retired", "versions")
    tenant = TenantId(reader.text("tenant", check_tenant_id))
    versions = tuple(_read_version(version, keys) for version in reader.objects("versions"))
    numbers = [version.number for version in versions]
    if not numbers or numbers != sorted(set(numbers)):
        reader.refuse("versions", numbers, "at least one version, numbers ascending")
    rollout = Rollout()
    if reader.value.get("rollout") is not None:
        rollout = Rollout(VersionNumber(reader.integer("rollout", at_least=1)))
        if rollout.version not in numbers:
            reader.refuse("rollout", rollout.version, f"the number of a version ({', '.join(map(str, numbers))})")
    return Bot(bot_id, tenant, versions, rollout, reader.boolean("retired", default=False))


def _read_version(reader: Reader, keys: KnownKeys) -> Version:
    reader.only(*_VERSION_FIELDS)
    artifact = reader.text("artifact")
    if len(artifact) != 64 or not _DIGEST_DIGITS.issuperset(artifact):
        reader.refuse("artifact", artifact, "a sha256 in 64 hex digits")
    return Version(
        number=VersionNumber(reader.integer("number", at_least=1)),
        artifact=artifact,
        size_bytes=reader.integer("bytes"),
        family_key=_read_known_key(reader, keys),
        published_at_s=reader.integer("publishedAtS"),
        resources=ResourceHints(
            memory_bytes=reader.integer("memoryBytes") if "memoryBytes" in reader.value else None,
            rate_per_s=reader.number("ratePerS") if "ratePerS" in reader.value else None,
        ),
    )


# ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_format(reader: Reader, expected: str, name: str) -> None:
    """A document of another format is not looked into: every other problem would only follow from that."""
    if reader.value.get("format") != expected:
        reader.refuse("format", reader.value.get("format"), repr(expected))
        reader.finish(name)


def _key_document(key: FamilyKey) -> dict[str, object]:
    document: dict[str, object] = {"group": key.group, "framework": key.framework}
    if key.backbone is not None:
        document["backbone"] = key.backbone
    if key.pin is not None:
        document["pin"] = key.pin
    return document


def _read_key(reader: Reader) -> FamilyKey:
    return FamilyKey(
        GroupName(reader.text("group", check_group_name)),
        Framework(reader.text("framework", check_framework)),
        reader.optional_text("backbone", check_label),
        reader.optional_text("pin", check_label),
    )


def _read_known_key(reader: Reader, keys: KnownKeys) -> FamilyKey:
    """As `_read_key`; what was found right once is taken as it is, and one object stands for all bots of a family."""
    fields = tuple(map(reader.value.get, _KEY_FIELDS))
    if not all(isinstance(field, str | None) for field in fields):
        return _read_key(reader)
    key = keys.get(fields)
    if key is None:
        problems_before = len(reader.problems)
        key = _read_key(reader)
        if len(reader.problems) == problems_before:
            keys[fields] = key
    return key
