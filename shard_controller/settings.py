"""Settings of the shard controller, from `SHARDS_*` environment variables: read once, checked whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from botshard.environ import LIFELINE_FD, LOG_FORMATS, LOG_LEVELS, EnvironReader
from botshard.sharding.budget import BOTS_PER_POOL

__all__ = ["VARIABLES", "Settings", "read_settings"]

VARIABLES = (
    "SHARDS_STORE_URL",
    "SHARDS_GROUPS",
    "SHARDS_HOME",
    "SHARDS_INTERVAL_S",
    "SHARDS_REPLAN_INTERVAL_S",
    "SHARDS_GRACE_S",
    "SHARDS_BUDGET_BOTS",
    "SHARDS_LOG_FORMAT",
    "SHARDS_LOG_LEVEL",
    LIFELINE_FD,
)
"""Every variable that is read here. The store reads its own (`AWS_...`), the notices `NOTIFY_SOCKET`."""


_MOST_BOTS = 1_000_000
"""As good as no bound."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one controller."""

    store_url: str
    """`SHARDS_STORE_URL`: where catalog, routing table and reports are."""
    group_files: tuple[Path, ...]
    """`SHARDS_GROUPS`: files and folders with pool groups, separated as in PATH; read again when they change."""
    home: str
    """`SHARDS_HOME`: where pools live: `file:///folder` with the two documents of a local stack."""
    interval_s: float
    """`SHARDS_INTERVAL_S`, 0.5: how often the world is looked at."""
    replan_interval_s: float
    """`SHARDS_REPLAN_INTERVAL_S`, 10: how often new measurements alone lead to a new plan."""
    grace_s: float
    """`SHARDS_GRACE_S`, 5: how long a pool answers for shards that have left it. Routers poll every second at most."""
    budget_bots: int
    """`SHARDS_BUDGET_BOTS`, 200: how many bots come to one pool at the same time when shards move."""
    log_format: str
    """`SHARDS_LOG_FORMAT`: `text` or `json`."""
    log_level: str
    """`SHARDS_LOG_LEVEL`: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    lifeline_fd: int | None
    """`BOTSHARD_LIFELINE_FD`: a pipe's read end; end of file there ends this process as SIGTERM does."""


def read_settings(environ: Mapping[str, str], /) -> Settings:
    """The settings in `environ`. Raises: InvalidDocumentError with every variable that is wrong."""
    reader = EnvironReader(environ)
    groups = reader.required("SHARDS_GROUPS", "files or folders with pool groups, separated by " + repr(os.pathsep))
    settings = Settings(
        store_url=reader.required("SHARDS_STORE_URL", "a store such as file:///folder or s3://bucket/prefix"),
        group_files=tuple(Path(part) for part in groups.split(os.pathsep) if part),
        home=reader.required("SHARDS_HOME", "where pools live, such as file:///folder"),
        interval_s=reader.seconds("SHARDS_INTERVAL_S", 0.5, at_least=0.05, at_most=60.0),
        replan_interval_s=reader.seconds("SHARDS_REPLAN_INTERVAL_S", 10.0, at_least=0.05, at_most=3600.0),
        grace_s=reader.seconds("SHARDS_GRACE_S", 5.0, at_least=0.0, at_most=3600.0),
        budget_bots=reader.integer("SHARDS_BUDGET_BOTS", BOTS_PER_POOL, at_least=1, at_most=_MOST_BOTS),
        log_format=reader.choice("SHARDS_LOG_FORMAT", LOG_FORMATS, "text"),
        log_level=reader.choice("SHARDS_LOG_LEVEL", LOG_LEVELS, "INFO"),
        lifeline_fd=reader.fd(LIFELINE_FD),
    )
    reader.finish("environment of the shard controller")
    return settings
