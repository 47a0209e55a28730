"""Names of things, as types of their own, and the one check for each.

A name ends up in URLs, file names, Kubernetes objects and metric labels, so each kind has the narrowest alphabet
that its places allow. `check_*` returns None or the problem, so that a reader of a document can collect all of them.
"""

from __future__ import annotations

import re
from typing import NewType

from botshard.sharding.errors import Problem

__all__ = [
    "BotId",
    "Epoch",
    "FamilyId",
    "Framework",
    "GroupName",
    "PoolName",
    "ShardIndex",
    "TenantId",
    "VersionNumber",
    "check_bot_id",
    "check_framework",
    "check_group_name",
    "check_label",
    "check_pool_name",
    "check_tenant_id",
]

BotId = NewType("BotId", str)
"""One bot: ASCII letters, digits, `.`, `_`, `-`; 1 to 128 characters; not `.` or `..`."""
TenantId = NewType("TenantId", str)
"""The customer whose bot it is: the alphabet of a bot id, at most 64 characters."""
GroupName = NewType("GroupName", str)
"""A pool group: a DNS label of at most 24 characters, since it begins the names of pools."""
Framework = NewType("Framework", str)
"""What runs the model: `torch`, `tensorflow` …; lower case letters and digits, at most 12 characters."""
FamilyId = NewType("FamilyId", str)
"""`<framework>-<8 hex digits>`, computed by `hashing.family_id`; unique within a pool group."""
PoolName = NewType("PoolName", str)
"""`<group>-<family id>-<6 hex digits>`, computed by `hashing.pool_name`; at most 53 characters (a limit of KServe)."""
ShardIndex = NewType("ShardIndex", int)
"""The first b bits of a bot's hash, 0 … 2^b - 1."""
VersionNumber = NewType("VersionNumber", int)
"""1, 2, 3 …: what it names never changes."""
Epoch = NewType("Epoch", int)
"""Counts published routing tables, from 1."""

_BOT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_TENANT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_GROUP_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,22}[a-z0-9])?\Z")
_FRAMEWORK = re.compile(r"[a-z][a-z0-9]{0,11}\Z")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})\Z")
_POOL_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,51}[a-z0-9])?\Z")


def check_bot_id(value: object, /, field: str = "id") -> Problem | None:
    """None if `value` is a bot id, else what is wrong with it."""
    if isinstance(value, str) and _BOT_ID.match(value) and value not in (".", ".."):
        return None
    return Problem.of(field, value, "1 to 128 letters, digits, '.', '_' or '-' (and neither '.' nor '..')")


def check_tenant_id(value: object, /, field: str = "tenant") -> Problem | None:
    """None if `value` is a tenant id, else what is wrong with it."""
    if isinstance(value, str) and _TENANT_ID.match(value) and value not in (".", ".."):
        return None
    return Problem.of(field, value, "1 to 64 letters, digits, '.', '_' or '-' (and neither '.' nor '..')")


def check_group_name(value: object, /, field: str = "poolGroup") -> Problem | None:
    """None if `value` is the name of a pool group, else what is wrong with it."""
    if isinstance(value, str) and _GROUP_NAME.match(value):
        return None
    return Problem.of(field, value, "1 to 24 lower case letters, digits or '-', a letter first")


def check_framework(value: object, /, field: str = "framework") -> Problem | None:
    """None if `value` can name a framework (whether it is served is another question), else what is wrong with it."""
    if isinstance(value, str) and _FRAMEWORK.match(value):
        return None
    return Problem.of(field, value, "1 to 12 lower case letters or digits, a letter first")


def check_label(value: object, /, field: str) -> Problem | None:
    """None if `value` can name a backbone or a pin, else what is wrong with it."""
    if isinstance(value, str) and _LABEL.match(value):
        return None
    return Problem.of(field, value, "1 to 63 letters, digits, '.', '_' or '-', a letter or digit first")


def check_pool_name(value: object, /, field: str) -> Problem | None:
    """None if `value` is the name of a pool, else what is wrong with it."""
    if isinstance(value, str) and _POOL_NAME.match(value):
        return None
    return Problem.of(field, value, "a DNS label of at most 53 characters, a letter first")
