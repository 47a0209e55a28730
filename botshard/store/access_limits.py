"""How much a tenant and a bot may be asked: one document, `access/limits.json`, followed by every router.

```
{"format": "botshard.limits/v1", "revision": 2, "routers": 1, "sharedConcurrency": 64,
 "tenant": {"ratePerSecond": 50, "burst": 100, "concurrency": 16},
 "bot": {"concurrency": 8},
 "tenants": {"acme": {"ratePerSecond": 500, "burst": 500}},
 "bots": {"acme-banking": {"concurrency": 32}}}
```

`tenant` and `bot` hold for all that have no entry of their own. An entry replaces the default whole; what it leaves
out is not limited. `*` among the tenants is for keys of all tenants, which the default does not touch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from botshard.sharding.errors import Problem
from botshard.sharding.ids import BotId, TenantId, check_bot_id
from botshard.sharding.reading import Reader, parse_json
from botshard.store.access_keys import EVERY_TENANT, check_key_tenant
from botshard.store.base import ObjectStore
from botshard.store.documents import change_document, checked, read_document
from botshard.store.layout import ACCESS_LIMITS

__all__ = [
    "LIMITS_FORMAT",
    "UNLIMITED",
    "AccessLimits",
    "Limit",
    "change_limits",
    "decode_limits",
    "encode_limits",
    "read_limits",
]

LIMITS_FORMAT = "botshard.limits/v1"
_MOST_PER_S = 1_000_000.0
_LEAST_PER_S = 0.001
_MOST_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What somebody may ask; None: as much as they like."""

    rate_per_s: float | None = None
    """Requests a second in the long run."""
    burst: int | None = None
    """Requests at once after a pause; None: those of one second, at least one."""
    concurrency: int | None = None
    """Requests in flight."""

    @property
    def is_none(self) -> bool:
        """Whether nothing is limited."""
        return self.rate_per_s is None and self.concurrency is None


UNLIMITED = Limit()


@dataclass(frozen=True, slots=True)
class AccessLimits:
    """The whole document."""

    tenant: Limit = UNLIMITED
    bot: Limit = UNLIMITED
    tenants: Mapping[TenantId, Limit] = field(default_factory=dict)
    bots: Mapping[BotId, Limit] = field(default_factory=dict)
    shared_concurrency: int | None = None
    """Requests in flight of all tenants, from where on each gets an equal share; None: nobody makes room for others."""
    routers: int = 1
    """Router processes on other machines among which clients are spread: each grants its part."""
    revision: int = 0

    def of_tenant(self, tenant: TenantId, /) -> Limit:
        """The limit of one tenant."""
        found = self.tenants.get(tenant)
        if found is not None:
            return found
        return UNLIMITED if tenant == EVERY_TENANT else self.tenant

    def of_bot(self, bot: str, /) -> Limit:
        """The limit of one bot."""
        return self.bots.get(BotId(bot), self.bot)


def encode_limits(limits: AccessLimits, /) -> bytes:
    """The bytes of the document."""
    document: dict[str, object] = {
        "format": LIMITS_FORMAT,
        "revision": limits.revision,
        "routers": limits.routers,
        "sharedConcurrency": limits.shared_concurrency,
        "tenant": _shown(limits.tenant),
        "bot": _shown(limits.bot),
        "tenants": {name: _shown(limit) for name, limit in sorted(limits.tenants.items())},
        "bots": {name: _shown(limit) for name, limit in sorted(limits.bots.items())},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _shown(limit: Limit) -> dict[str, float | int]:
    said = {"ratePerSecond": limit.rate_per_s, "burst": limit.burst, "concurrency": limit.concurrency}
    return {name: value for name, value in said.items() if value is not None}


def decode_limits(data: bytes, /) -> AccessLimits:
    """The limits in `data`.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, ACCESS_LIMITS), ACCESS_LIMITS)
    if reader.value.get("format") != LIMITS_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(LIMITS_FORMAT))
        reader.finish(ACCESS_LIMITS)
    reader.only("format", "revision", "routers", "sharedConcurrency", "tenant", "bot", "tenants", "bots")
    limits = AccessLimits(
        tenant=_read_limit(reader, "tenant"),
        bot=_read_limit(reader, "bot"),
        tenants={TenantId(name): limit for name, limit in _read_named(reader, "tenants", check_key_tenant)},
        bots={BotId(name): limit for name, limit in _read_named(reader, "bots", check_bot_id)},
        shared_concurrency=_optional_count(reader, "sharedConcurrency"),
        routers=_optional_count(reader, "routers") or 1,
        revision=reader.integer("revision"),
    )
    reader.finish(ACCESS_LIMITS)
    return limits


def _read_named(reader: Reader, key: str, check: Callable[[object, str], Problem | None]) -> list[tuple[str, Limit]]:
    if reader.value.get(key) is None:
        return []
    members = reader.inner(key)
    for name in members.value:
        members.note(check(name, members.at(name)))
    return [(name, _read_limit(members, name)) for name in members.value]


def _read_limit(reader: Reader, key: str) -> Limit:
    if reader.value.get(key) is None:
        return UNLIMITED
    item = reader.inner(key)
    item.only("ratePerSecond", "burst", "concurrency")
    rate = None
    if item.value.get("ratePerSecond") is not None:
        rate = item.number("ratePerSecond", at_least=_LEAST_PER_S)
        if rate > _MOST_PER_S:
            item.refuse("ratePerSecond", rate, f"a number of at most {_MOST_PER_S:g}")
    burst = _optional_count(item, "burst")
    if burst is not None and rate is None:
        item.refuse("burst", burst, "beside a ratePerSecond")
    return Limit(rate, burst, _optional_count(item, "concurrency"))


def _optional_count(reader: Reader, key: str) -> int | None:
    if reader.value.get(key) is None:
        return None
    return reader.integer(key, at_least=1, at_most=_MOST_AT_ONCE)


def read_limits(store: ObjectStore, /) -> AccessLimits:
    """The limits as they are now.

    Raises: InvalidDocumentError, StoreError.
    """
    found = read_document(store, ACCESS_LIMITS, decode_limits)
    return AccessLimits() if found is None else found[0]


def change_limits(store: ObjectStore, edit: Callable[[AccessLimits], AccessLimits], /) -> AccessLimits:
    """Apply `edit` to the limits, whoever else changes them meanwhile; what they are then.

    Raises: InvalidDocumentError, also where `edit` made what nobody would accept; StoreError; what `edit` raises.
    """

    def numbered(before: AccessLimits) -> AccessLimits:
        after = edit(before)
        return before if after == before else replace(after, revision=before.revision + 1)

    return change_document(
        store,
        ACCESS_LIMITS,
        numbered,
        decode=decode_limits,
        encode=checked(ACCESS_LIMITS, encode_limits, decode_limits),
        empty=AccessLimits(),
    )
