"""Which artifact a backbone is: a small object a name, written once and never changed.

```
backbones/<name>.json   {"format": "botshard.backbone/v1", "artifact": "<sha256>", "bytes": n, "width": n,
                         "publishedAtS": n}
```

Heads were trained on the encodings of one encoder, so the name is a promise of content: another encoder gets another
name. The artifact is one like those of bots (`artifacts.py`); it is written first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from botshard.sharding.errors import TerminalError
from botshard.sharding.reading import Reader, parse_json
from botshard.store.base import ObjectNotFoundError, ObjectStore, PreconditionFailedError
from botshard.store.layout import BACKBONES_PREFIX, backbone_key, is_digest

__all__ = [
    "BACKBONE_FORMAT",
    "BackboneRecord",
    "BackboneTakenError",
    "keep_backbone",
    "list_backbones",
    "read_backbone",
]

BACKBONE_FORMAT = "botshard.backbone/v1"


@dataclass(frozen=True, slots=True)
class BackboneRecord:
    """A backbone as the store knows it."""

    name: str
    artifact: str
    """sha256 of the artifact's manifest, 64 hex digits."""
    size_bytes: int
    """Sum of the artifact's files."""
    width: int
    """Numbers of one encoding: what heads take."""
    published_at_s: int
    """Seconds since 1970, UTC, by the publisher's clock; for people, never for decisions."""


class BackboneTakenError(TerminalError):
    """The name is that of other content, which `record` tells."""

    def __init__(self, record: BackboneRecord, artifact: str) -> None:
        super().__init__(
            f"backbone {record.name!r} is artifact {record.artifact[:12]}…, and this folder is {artifact[:12]}…: a "
            "name never changes its content, since heads were trained on it; publish this one under another name"
        )
        self.record = record


def keep_backbone(store: ObjectStore, record: BackboneRecord, /) -> BackboneRecord:
    """Give an artifact that is stored its name; the record that has it now, which is an older one of equal content.

    Raises: BackboneTakenError, InvalidDocumentError, StoreError.
    """
    document = {
        "format": BACKBONE_FORMAT,
        "artifact": record.artifact,
        "bytes": record.size_bytes,
        "width": record.width,
        "publishedAtS": record.published_at_s,
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    try:
        store.put_if(backbone_key(record.name), data, etag=None)
    except PreconditionFailedError:
        known = read_backbone(store, record.name)
        if known is None or known.artifact != record.artifact:
            raise BackboneTakenError(known or record, record.artifact) from None
        return known
    return record


def read_backbone(store: ObjectStore, name: str, /) -> BackboneRecord | None:
    """The backbone with this name, if there is one.

    Raises: InvalidDocumentError, StoreError.
    """
    key = backbone_key(name)
    try:
        data = store.get(key).data
    except ObjectNotFoundError:
        return None
    reader = Reader.of(parse_json(data, key), key)
    reader.only("format", "artifact", "bytes", "width", "publishedAtS")
    if reader.value.get("format") != BACKBONE_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(BACKBONE_FORMAT))
    artifact = reader.text("artifact")
    if not is_digest(artifact):
        reader.refuse("artifact", artifact, "a sha256 in 64 hex digits")
    record = BackboneRecord(
        name=name,
        artifact=artifact,
        size_bytes=reader.integer("bytes"),
        width=reader.integer("width", at_least=1),
        published_at_s=reader.integer("publishedAtS"),
    )
    reader.finish(key)
    return record


def list_backbones(store: ObjectStore, /) -> list[BackboneRecord]:
    """All backbones, by name.

    Raises: InvalidDocumentError, StoreError.
    """
    names = [entry.key.removeprefix(BACKBONES_PREFIX).removesuffix(".json") for entry in store.list(BACKBONES_PREFIX)]
    return [record for name in sorted(names) if (record := read_backbone(store, name)) is not None]
