"""API keys: who may ask which tenant's bots. One document, `access/keys.json`, which never holds a key itself.

A key is 32 random bytes, written `bsk_<id>_<secret>`; the id names it in documents and logs, the document has the
SHA-256 of the whole. Slow hashes such as bcrypt are for what people think up: they make each guess expensive. Nobody
guesses 256 random bits, however fast the hash is, and a router that takes a tenth of a second of CPU to check a key
could be brought down by anybody who sends wrong ones.

```
{"format": "botshard.keys/v1", "revision": 3, "keys": [
  {"id": "k3v9…", "sha256": "<64 hex>", "tenant": "acme", "roles": ["infer"], "createdAt": 1760000000,
   "expiresAt": null, "note": "their web shop"}]}
```

The revision grows with every write, so that equal keys are never equal bytes. A revoked key leaves the document.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from botshard.sharding.errors import Problem
from botshard.sharding.ids import TenantId, check_tenant_id
from botshard.sharding.reading import Reader, parse_json
from botshard.store.base import ObjectStore
from botshard.store.documents import change_document, checked, read_document
from botshard.store.layout import ACCESS_KEYS

__all__ = [
    "EVERY_TENANT",
    "KEYS_FORMAT",
    "AccessKey",
    "AccessKeys",
    "Role",
    "change_keys",
    "check_key_tenant",
    "decode_keys",
    "digest_of_key",
    "encode_keys",
    "id_of_key",
    "new_key",
    "read_keys",
]

KEYS_FORMAT = "botshard.keys/v1"
EVERY_TENANT = TenantId("*")
"""Stands for all tenants where a tenant is named."""

_PREFIX = "bsk_"
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_CHARS = 12
_SECRET_BYTES = 32
_PRESENTED = re.compile(r"bsk_([a-z0-9]{12})_[A-Za-z0-9_-]{43}\Z")
_KEY_ID = re.compile(r"[a-z0-9]{12}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_MAX_NOTE_CHARS = 200


class Role(StrEnum):
    """What somebody may do."""

    INFER = "infer"
    """Ask bots, see which there are."""
    ADMIN = "admin"
    """See the whole fleet: tables, explanations, metrics. Goes with all tenants only."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One key, without what would let anybody use it."""

    id: str
    sha256: str
    tenant: TenantId
    """Whose bots it may ask; `*`: all."""
    roles: frozenset[Role]
    created_at_s: int
    expires_at_s: int | None = None
    """Seconds since 1970; None: never."""
    note: str = ""

    def is_expired(self, now_s: float, /) -> bool:
        """Whether its time is up; `now_s` in seconds since 1970."""
        return self.expires_at_s is not None and now_s >= self.expires_at_s


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """All keys that are good."""

    keys: Mapping[str, AccessKey] = field(default_factory=dict)
    """{id: key}"""
    revision: int = 0

    def with_key(self, key: AccessKey, /) -> AccessKeys:
        """These and one more."""
        return AccessKeys({**self.keys, key.id: key}, self.revision + 1)

    def without(self, ids: Iterable[str], /) -> AccessKeys:
        """The same without some; itself where none of them is here."""
        gone = set(ids) & set(self.keys)
        if not gone:
            return self
        return AccessKeys({name: key for name, key in self.keys.items() if name not in gone}, self.revision + 1)


def new_key(
    *, tenant: TenantId, roles: Iterable[Role], now_s: int, expires_at_s: int | None = None, note: str = ""
) -> tuple[AccessKey, str]:
    """A key, and the text of it that is shown once and kept nowhere."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_CHARS))
    presented = f"{_PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = AccessKey(key_id, digest_of_key(presented), tenant, frozenset(roles), now_s, expires_at_s, note)
    return key, presented


def id_of_key(presented: str, /) -> str | None:
    """The id in a key; None where it has not the form of one of ours."""
    match = _PRESENTED.match(presented)
    return None if match is None else match[1]


def digest_of_key(presented: str, /) -> str:
    """What is kept of a key."""
    return hashlib.sha256(presented.encode()).hexdigest()


def check_key_tenant(value: object, /, field: str = "tenant") -> Problem | None:
    """None if `value` is a tenant id or `*`."""
    return None if value == EVERY_TENANT else check_tenant_id(value, field)


def encode_keys(keys: AccessKeys, /) -> bytes:
    """The bytes of the document."""
    listed = [
        {
            "id": key.id,
            "sha256": key.sha256,
            "tenant": key.tenant,
            "roles": sorted(key.roles),
            "createdAt": key.created_at_s,
            "expiresAt": key.expires_at_s,
            "note": key.note,
        }
        for _, key in sorted(keys.keys.items())
    ]
    document = {"format": KEYS_FORMAT, "revision": keys.revision, "keys": listed}
    return json.dumps(document, separators=(",", ":")).encode()


def decode_keys(data: bytes, /) -> AccessKeys:
    """The keys in `data`.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, ACCESS_KEYS), ACCESS_KEYS)
    if reader.value.get("format") != KEYS_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(KEYS_FORMAT))
        reader.finish(ACCESS_KEYS)
    reader.only("format", "revision", "keys")
    revision = reader.integer("revision")
    keys: dict[str, AccessKey] = {}
    for item in reader.objects("keys"):
        key = _read_key(item)
        if key.id in keys:
            item.refuse("id", key.id, "different from those before it")
        keys[key.id] = key
    reader.finish(ACCESS_KEYS)
    return AccessKeys(keys, revision)


def _read_key(item: Reader) -> AccessKey:
    item.only("id", "sha256", "tenant", "roles", "createdAt", "expiresAt", "note")
    roles: set[Role] = set()
    for index, role in enumerate(item.items("roles")):
        if role in list(Role):
            roles.add(Role(str(role)))
        else:
            item.note(Problem.of(f"{item.at('roles')}[{index}]", role, "infer or admin"))
    if not item.value.get("roles"):
        item.refuse("roles", item.value.get("roles"), "a list of at least one role")
    key = AccessKey(
        id=item.text("id", _check_key_id),
        # Not shown where it is wrong: somebody may have written the key there.
        sha256=item.text("sha256", _check_digest),
        tenant=TenantId(item.text("tenant", check_key_tenant)),
        roles=frozenset(roles),
        created_at_s=item.integer("createdAt"),
        expires_at_s=None if item.value.get("expiresAt") is None else item.integer("expiresAt"),
        note=item.optional_text("note", _check_note) or "",
    )
    if Role.ADMIN in key.roles and key.tenant != EVERY_TENANT:
        item.refuse("tenant", key.tenant, "'*' for a key with the role admin")
    return key


def _check_key_id(value: object, field: str) -> Problem | None:
    if isinstance(value, str) and _KEY_ID.match(value):
        return None
    return Problem(field, "something else (not shown)", "12 lower case letters or digits")


def _check_digest(value: object, field: str) -> Problem | None:
    if isinstance(value, str) and _DIGEST.match(value):
        return None
    return Problem(field, "something else (not shown)", "a sha256 in 64 hex digits")


def _check_note(value: object, field: str) -> Problem | None:
    if isinstance(value, str) and len(value) <= _MAX_NOTE_CHARS and value.isprintable():
        return None
    return Problem.of(field, value, f"one line of at most {_MAX_NOTE_CHARS} characters")


def read_keys(store: ObjectStore, /) -> AccessKeys:
    """The keys as they are now.

    Raises: InvalidDocumentError, StoreError.
    """
    found = read_document(store, ACCESS_KEYS, decode_keys)
    return AccessKeys() if found is None else found[0]


def change_keys(store: ObjectStore, edit: Callable[[AccessKeys], AccessKeys], /) -> AccessKeys:
    """Apply `edit` to the keys, whoever else changes them meanwhile; what they are then.

    Raises: InvalidDocumentError, also where `edit` made what nobody would accept; StoreError; what `edit` raises.
    """
    return change_document(
        store,
        ACCESS_KEYS,
        edit,
        decode=decode_keys,
        encode=checked(ACCESS_KEYS, encode_keys, decode_keys),
        empty=AccessKeys(),
    )
