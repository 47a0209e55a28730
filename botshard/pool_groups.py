"""Pool groups from YAML in the shape of a Kubernetes object, so that a cluster and this machine read the same file.

```yaml
apiVersion: botshard.dev/v1alpha1
kind: PoolGroup
metadata: {name: realtime}
spec:
  class: realtime
  replicas: {min: 1, max: 4}
```

`docs/pool-groups.md` tells every field. Files are refused whole, with every problem in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from botshard.bots.strict_yaml import read_yaml
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.groups import MAX_SHARD_REPLICAS, PoolGroupSpec, RoutePolicy
from botshard.sharding.ids import GroupName, check_group_name
from botshard.sharding.reading import Reader
from botshard.sharding.units import MEBIBYTE, parse_bytes, parse_duration_s

__all__ = ["API_VERSION", "KIND", "parse_pool_groups", "read_pool_groups"]

API_VERSION = "botshard.dev/v1alpha1"
KIND = "PoolGroup"

_SEPARATOR = re.compile(rb"^---[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_CLASSES = ("realtime", "non-realtime")
_MIN_POOL_MEMORY_BYTES = MEBIBYTE
_LEAST_RATE_PER_S = 0.001
"""Rates are weighed in thousandths; less would be no bound at all."""
_MAX_OVERCOMMIT = 100
_MAX_BOT_IDLE_S = 7 * 86_400.0
_MAX_TIMEOUT_S = 600.0
"""Knative accepts no longer request timeout unless its own configuration is changed."""


def read_pool_groups(paths: Iterable[Path], /) -> tuple[PoolGroupSpec, ...]:
    """The groups in these files; a folder stands for the `.yaml` and `.yml` files in it.

    Raises: InvalidDocumentError naming file and field; a file that cannot be read is such an error too.
    """
    groups: dict[GroupName, PoolGroupSpec] = {}
    for path in paths:
        for file in _files(path):
            try:
                data = file.read_bytes()
            except OSError as error:
                raise InvalidDocumentError(str(file), [Problem("", str(error.strerror), "a file to read")]) from error
            for group in parse_pool_groups(data, str(file)):
                if group.name in groups:
                    problem = Problem.of("metadata.name", group.name, "a name that no other file has given already")
                    raise InvalidDocumentError(str(file), [problem])
                groups[group.name] = group
    return tuple(groups.values())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    except OSError as error:
        raise InvalidDocumentError(str(path), [Problem("", str(error.strerror), "a folder to read")]) from error
    if not files:
        raise InvalidDocumentError(str(path), [Problem("", "none", "a folder with at least one .yaml file")])
    return files


def parse_pool_groups(data: bytes, document: str, /) -> tuple[PoolGroupSpec, ...]:
    """The groups in `data`, one YAML document each; `document` names it in errors.

    Raises: InvalidDocumentError.
    """
    parts = [part for part in _SEPARATOR.split(data) if part.strip()]
    values = [read_yaml(part, document) for part in parts]
    readers = [Reader.of(value, document) for value in values if value is not None]
    if not readers:
        raise InvalidDocumentError(document, [Problem("", "nothing", f"at least one {KIND}")])
    groups = [_read_group(reader, document) for reader in readers]
    names = [group.name for group in groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidDocumentError(
            document, [Problem.of("metadata.name", n, "different in each object") for n in twice]
        )
    return tuple(groups)


def _read_group(reader: Reader, document: str) -> PoolGroupSpec:
    reader.only("apiVersion", "kind", "metadata", "spec")
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if reader.value.get(key) != expected:
            reader.refuse(key, reader.value.get(key), repr(expected))
    name = GroupName(reader.inner("metadata").text("name", check_group_name))
    spec = reader.inner("spec")
    spec.only("class", "replicas", "shardReplicas", "pool", "timeouts", "concurrency", "policy", "blastRadiusLimit")
    realtime = spec.value.get("class") == "realtime"
    if spec.value.get("class") not in _CLASSES:
        spec.refuse("class", spec.value.get("class"), " or ".join(_CLASSES))
    defaults = PoolGroupSpec(name, realtime, min_replicas=1 if realtime else 0)
    replicas = _section(spec, "replicas", "min", "max")
    lowest = 1 if realtime else 0
    min_replicas = _integer(replicas, "min", defaults.min_replicas, at_least=lowest, at_most=1000)
    pool = _section(spec, "pool", "memory", "overcommit", "bots", "ratePerSecond", "reloadsPerSecond")
    timeouts = _section(spec, "timeouts", "request", "coldStart", "idle", "botIdle")
    group = PoolGroupSpec(
        name=name,
        realtime=realtime,
        min_replicas=min_replicas,
        max_replicas=_integer(
            replicas, "max", max(defaults.max_replicas, min_replicas), at_least=max(1, min_replicas), at_most=1000
        ),
        shard_replicas=_integer(spec, "shardReplicas", 1, at_least=1, at_most=MAX_SHARD_REPLICAS),
        pool_memory_bytes=_bytes(pool, "memory", defaults.pool_memory_bytes),
        overcommit=_overcommit(pool, defaults.overcommit),
        pool_reloads_per_s=_rate(pool, "reloadsPerSecond", defaults.pool_reloads_per_s),
        bots_per_pool=_integer(pool, "bots", defaults.bots_per_pool, at_least=1, at_most=100_000),
        pool_rate_per_s=_rate(pool, "ratePerSecond", defaults.pool_rate_per_s),
        request_timeout_s=_duration(timeouts, "request", defaults.request_timeout_s),
        cold_start_timeout_s=_duration(timeouts, "coldStart", defaults.cold_start_timeout_s),
        idle_after_s=_duration(timeouts, "idle", defaults.idle_after_s),
        bot_idle_after_s=_duration(timeouts, "botIdle", defaults.bot_idle_after_s, at_most_s=_MAX_BOT_IDLE_S),
        concurrency=_integer(spec, "concurrency", defaults.concurrency, at_least=1, at_most=1000),
        policy=_policy(spec),
        blast_radius_limit=_share(spec, "blastRadiusLimit"),
    )
    reader.finish(document)
    return group


def _section(reader: Reader, key: str, *known: str) -> Reader:
    """A section that may be left out."""
    if key not in reader.value:
        return Reader({}, reader.at(key), reader.problems)
    section = reader.inner(key)
    section.only(*known)
    return section


def _integer(reader: Reader, key: str, default: int, *, at_least: int, at_most: int) -> int:
    return reader.integer(key, at_least=at_least, at_most=at_most) if key in reader.value else default


def _bytes(reader: Reader, key: str, default: int) -> int:
    value = reader.value.get(key, default)
    try:
        size = parse_bytes(value) if isinstance(value, str | int) else -1
    except ValueError:
        size = -1
    if size < _MIN_POOL_MEMORY_BYTES:
        reader.refuse(key, value, "a number of bytes such as 512Mi, at least 1Mi")
        return default
    return size


def _rate(reader: Reader, key: str, default: float) -> float:
    value = reader.number(key) if key in reader.value else default
    if 0 < value < _LEAST_RATE_PER_S:
        reader.refuse(key, value, f"at least {_LEAST_RATE_PER_S}, or 0 for no bound")
    return value


def _overcommit(reader: Reader, default: float) -> float:
    value = reader.value.get("overcommit", default)
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= _MAX_OVERCOMMIT:
        return float(value)
    reader.refuse("overcommit", value, f"a number from 1 to {_MAX_OVERCOMMIT}")
    return default


def _duration(reader: Reader, key: str, default: float, *, at_most_s: float = _MAX_TIMEOUT_S) -> float:
    value = reader.value.get(key, default)
    try:
        duration_s = parse_duration_s(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        duration_s = -1.0
    if not 0 < duration_s <= at_most_s:
        reader.refuse(key, value, f"a duration such as 30s, over 0 and at most {at_most_s:g}s")
        return default
    return duration_s


def _policy(reader: Reader) -> RoutePolicy | None:
    if "policy" not in reader.value:
        return None
    value = reader.value["policy"]
    if value in list(RoutePolicy):
        return RoutePolicy(str(value))
    reader.refuse("policy", value, f"one of {', '.join(RoutePolicy)}")
    return None


def _share(reader: Reader, key: str) -> float | None:
    """A share over 0 and at most 1; None where it is left out."""
    if key not in reader.value:
        return None
    value = reader.value[key]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return float(value)
    reader.refuse(key, value, "a number over 0 and at most 1, such as 0.25")
    return None
