"""What an operator asks for beyond pool groups: pools to drain or quarantine, families that are to have more pools.

One object, changed by compare-and-swap, followed by the controller: `controller/intents.json`. Strict JSON:

```
{"format": "botshard.intents/v1", "drain": ["<pool>", …], "quarantine": ["<pool>", …], "morePools": {"<family>": 3}}
```
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.ids import FamilyId, PoolName, check_pool_name
from botshard.sharding.reading import Reader, parse_json
from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.documents import change_document, read_document
from botshard.store.layout import CONTROLLER_INTENTS

__all__ = [
    "INTENTS_FORMAT",
    "MOST_POOLS",
    "IntentFollower",
    "Intents",
    "change_intents",
    "decode_intents",
    "encode_intents",
    "read_intents",
]

INTENTS_FORMAT = "botshard.intents/v1"
MOST_POOLS = 1000
"""Pools a family may be asked to have: more is a slip of the pen."""
_MAX_FAMILY_CHARS = 21


@dataclass(frozen=True, slots=True)
class Intents:
    """What is asked for; empty where nobody has asked for anything."""

    drain: tuple[PoolName, ...] = ()
    """Pools that no shard is to live in, sorted."""
    more_pools: Mapping[FamilyId, int] = field(default_factory=dict)
    """How many pools a family is to have at least."""
    quarantine: tuple[PoolName, ...] = ()
    """Pools that are to be asked by nobody any more, at once, sorted."""

    @property
    def leaving(self) -> frozenset[PoolName]:
        """Pools that no shard is to live in, for whatever reason."""
        return frozenset(self.drain) | frozenset(self.quarantine)

    def without(self, pools: Collection[PoolName], /) -> Intents:
        """The same without some pools that are gone."""
        return replace(
            self,
            drain=tuple(name for name in self.drain if name not in pools),
            quarantine=tuple(name for name in self.quarantine if name not in pools),
        )


def encode_intents(intents: Intents, /) -> bytes:
    """The bytes of the document: equal intents are equal bytes."""
    document = {
        "format": INTENTS_FORMAT,
        "drain": sorted(intents.drain),
        "quarantine": sorted(intents.quarantine),
        "morePools": dict(sorted(intents.more_pools.items())),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode_intents(data: bytes, /) -> Intents:
    """The intents in `data`. Raises: InvalidDocumentError with every problem and its field."""
    reader = Reader.of(parse_json(data, CONTROLLER_INTENTS), CONTROLLER_INTENTS)
    if reader.value.get("format") != INTENTS_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(INTENTS_FORMAT))
        reader.finish(CONTROLLER_INTENTS)
    reader.only("format", "drain", "quarantine", "morePools")
    drain = _read_pools(reader, "drain")
    quarantine = _read_pools(reader, "quarantine") if "quarantine" in reader.value else ()
    more = reader.inner("morePools")
    for family in more.value:
        if not 0 < len(family) <= _MAX_FAMILY_CHARS:
            more.refuse(family, family, f"named by a family id of at most {_MAX_FAMILY_CHARS} characters")
    pools = {FamilyId(family): more.integer(family, at_least=1, at_most=MOST_POOLS) for family in more.value}
    reader.finish(CONTROLLER_INTENTS)
    return Intents(drain, pools, quarantine)


def _read_pools(reader: Reader, field: str) -> tuple[PoolName, ...]:
    names = reader.items(field)
    for index, name in enumerate(names):
        reader.note(check_pool_name(name, f"{field}[{index}]"))
        if name in names[:index]:
            reader.note(Problem.of(f"{field}[{index}]", name, "different from those before it"))
    return tuple(PoolName(str(name)) for name in names)


def read_intents(store: ObjectStore, /) -> Intents:
    """What is asked for now. Raises: InvalidDocumentError, StoreError."""
    found = read_document(store, CONTROLLER_INTENTS, decode_intents)
    return Intents() if found is None else found[0]


def change_intents(store: ObjectStore, edit: Callable[[Intents], Intents], /) -> Intents:
    """Apply `edit` to what is asked for, whoever else changes it meanwhile; what it is then.

    Raises: InvalidDocumentError, StoreError; PreconditionFailedError after many tries; whatever `edit` raises.
    """
    return change_document(
        store, CONTROLLER_INTENTS, edit, decode=decode_intents, encode=encode_intents, empty=Intents()
    )


class IntentFollower:
    """Holds the newest acceptable intents."""

    def __init__(self, store: ObjectStore, /) -> None:
        self._store = store
        self._etag: str | None = None
        self.intents = Intents()
        """In force."""
        self.are_known = False
        """Whether anything acceptable was seen yet; until then nobody knows that nothing is asked for."""
        self.problem: str | None = None
        """Why what the store holds now was refused; None where it is in force."""

    def refresh(self) -> bool:
        """Whether the intents in force changed. One poll where nothing has changed. Raises: StoreError."""
        before = self.intents
        try:
            blob = self._store.get_if_changed(CONTROLLER_INTENTS, self._etag)
        except ObjectNotFoundError:
            self.intents, self._etag, self.problem, self.are_known = Intents(), None, None, True
            return self.intents != before
        if blob is None:
            return False
        self._etag = blob.etag
        try:
            self.intents = decode_intents(blob.data)
        except InvalidDocumentError as error:
            self.problem = str(error)
            return False
        self.problem, self.are_known = None, True
        return self.intents != before
