"""Where things are in the store: every key is made here and nowhere else.

```
catalog/head.json             which revision each catalog object has reached; polled by everybody
catalog/<00…ff>.json          bots, by the first byte of their hash
table/current.json            the routing table
artifacts/<sha256>.json       an artifact's manifest, named by its own digest
blobs/<2 hex>/<sha256>        contents of files, named by their digest
backbones/<name>.json         which artifact a backbone is; never changed
reports/<pool>/<replica>.json what one replica says of itself
costs/<pool>/<replica>.json   what bots have cost it
controller/status.json        what the shard controller says of itself
controller/intents.json       what an operator asks of it beyond pool groups
access/keys.json              API keys by their digests: who may ask which tenant's bots
access/limits.json            how much a tenant and a bot may be asked
```
"""

from __future__ import annotations

import re

from botshard.sharding.errors import CallerError
from botshard.sharding.hashing import bot_hash, catalog_object_index
from botshard.sharding.ids import BotId, PoolName, check_label

__all__ = [
    "ACCESS_KEYS",
    "ACCESS_LIMITS",
    "ARTIFACTS_PREFIX",
    "BACKBONES_PREFIX",
    "BLOBS_PREFIX",
    "CATALOG_HEAD",
    "CATALOG_OBJECTS",
    "CATALOG_PREFIX",
    "CONTROLLER_INTENTS",
    "CONTROLLER_STATUS",
    "REPORTS_PREFIX",
    "TABLE_CURRENT",
    "artifact_key",
    "backbone_key",
    "blob_key",
    "catalog_key",
    "catalog_key_of",
    "catalog_name",
    "catalog_name_of",
    "costs_key",
    "is_digest",
    "pool_costs_prefix",
    "pool_reports_prefix",
    "report_key",
]

CATALOG_PREFIX = "catalog/"
CATALOG_HEAD = "catalog/head.json"
TABLE_CURRENT = "table/current.json"
ARTIFACTS_PREFIX = "artifacts/"
BLOBS_PREFIX = "blobs/"
BACKBONES_PREFIX = "backbones/"
REPORTS_PREFIX = "reports/"
CONTROLLER_STATUS = "controller/status.json"
CONTROLLER_INTENTS = "controller/intents.json"
ACCESS_KEYS = "access/keys.json"
ACCESS_LIMITS = "access/limits.json"

CATALOG_OBJECTS = tuple(f"{index:02x}" for index in range(256))
"""Names of the catalog's objects, as the head lists them."""

_CATALOG_KEY = re.compile(r"catalog/([0-9a-f]{2})\.json\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def catalog_key(name: str, /) -> str:
    """Key of the catalog object with this name (`00` … `ff`)."""
    return f"catalog/{name}.json"


def catalog_key_of(bot_id: BotId, /) -> str:
    """Key of the catalog object that holds a bot."""
    return catalog_key(catalog_name_of(bot_id))


def catalog_name_of(bot_id: BotId, /) -> str:
    """Name of the catalog object that holds a bot."""
    return CATALOG_OBJECTS[catalog_object_index(bot_hash(bot_id))]


def catalog_name(key: str, /) -> str | None:
    """Name of the catalog object with this key; None for the head and for anything else."""
    match = _CATALOG_KEY.match(key)
    return match.group(1) if match else None


def is_digest(text: str, /) -> bool:
    """Whether `text` is a sha256 in 64 lower case hex digits."""
    return _DIGEST.match(text) is not None


def artifact_key(digest: str, /) -> str:
    """Key of the manifest with this sha256."""
    return f"{ARTIFACTS_PREFIX}{_checked(digest)}.json"


def backbone_key(name: str, /) -> str:
    """Key of the record of the backbone with this name."""
    if check_label(name, "backbone") is not None:
        raise CallerError(f"not the name of a backbone: {name!r}")
    return f"{BACKBONES_PREFIX}{name}.json"


def blob_key(sha256: str, /) -> str:
    """Key of the file contents with this sha256."""
    return f"{BLOBS_PREFIX}{_checked(sha256)[:2]}/{sha256}"


def pool_reports_prefix(pool: PoolName, /) -> str:
    """What the keys of one pool's reports start with."""
    return f"reports/{pool}/"


def report_key(pool: PoolName, replica: str, /) -> str:
    """Key of one replica's report."""
    return f"reports/{pool}/{replica}.json"


def pool_costs_prefix(pool: PoolName, /) -> str:
    """What the keys of the costs of one pool's replicas start with."""
    return f"costs/{pool}/"


def costs_key(pool: PoolName, replica: str, /) -> str:
    """Key of what bots have cost one replica."""
    return f"costs/{pool}/{replica}.json"


def _checked(digest: str) -> str:
    if not is_digest(digest):
        raise CallerError(f"not a sha256 in hex digits: {digest!r}")
    return digest
