"""Catalog entries in which everything is as it should be, which is nearly all of them, taken in half the time.

A large catalog is hundreds of thousands of entries, and every process reads it when it starts. This looks at an entry
without making up what it would say of it: where anything is amiss, or merely rare, the answer is None, and `codec`
reads the entry field by field and names what is wrong. It never accepts what `codec` would not: a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from botshard.sharding.catalog import Bot, FamilyKey, ResourceHints, Rollout, Version
from botshard.sharding.ids import BotId, TenantId, VersionNumber, check_tenant_id

__all__ = ["KnownKeys", "well_formed_bot"]

KnownKeys: TypeAlias = dict[tuple[object, ...], FamilyKey]
"""Family keys that were read and found right, by group, framework, backbone and pin: thousands of bots share each."""

_BOT_FIELDS = frozenset(("tenant", "retired", "versions"))
_VERSION_FIELDS = frozenset(("number", "artifact", "bytes", "group", "framework", "backbone", "pin", "publishedAtS"))
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_MAX = 2**63 - 1
_NO_HINTS = ResourceHints()
_NEWEST = Rollout()


def well_formed_bot(bot_id: BotId, entry: Mapping[str, object], keys: KnownKeys, /) -> Bot | None:
    """The bot of an entry, of which the id was checked; None: it is to be read field by field."""
    if not entry.keys() <= _BOT_FIELDS:
        return None
    tenant, items, retired = entry.get("tenant"), entry.get("versions"), entry.get("retired", False)
    if not isinstance(items, list) or not isinstance(retired, bool) or check_tenant_id(tenant) is not None:
        return None
    versions = []
    number = 0
    for item in items:
        version = _well_formed_version(item, keys)
        if version is None or version.number <= number:
            return None
        number = version.number
        versions.append(version)
    return Bot(bot_id, TenantId(str(tenant)), tuple(versions), _NEWEST, retired) if versions else None


def _well_formed_version(item: object, keys: KnownKeys) -> Version | None:
    if not isinstance(item, dict) or not item.keys() <= _VERSION_FIELDS:
        return None
    get = item.get
    fields = (get("group"), get("framework"), get("backbone"), get("pin"))
    number, artifact, size_bytes, published_at_s = get("number"), get("artifact"), get("bytes"), get("publishedAtS")
    # By their types, not by `isinstance`: true is no number.
    if not (type(number) is type(size_bytes) is type(published_at_s) is int) or type(artifact) is not str:
        return None
    if not (1 <= number <= _MAX and 0 <= size_bytes <= _MAX and 0 <= published_at_s <= _MAX):
        return None
    try:
        key = keys.get(fields)
    except TypeError:  # a list or an object where a name should be
        return None
    if key is None or _DIGEST.match(artifact) is None:
        return None
    return Version(VersionNumber(number), artifact, size_bytes, key, published_at_s, _NO_HINTS)
