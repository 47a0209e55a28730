"""Bots as people see them: one line each, or one of them in detail. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from botshard.cli.world import World
from botshard.sharding.catalog import Bot, Version
from botshard.sharding.hashing import family_id
from botshard.sharding.ids import BotId
from botshard.sharding.residency import Residency
from botshard.store.costs import BotCost
from botshard.store.reports import BotReport, ReplicaReport

__all__ = [
    "BotFilter",
    "BotLine",
    "BotState",
    "Page",
    "ReplicaView",
    "VersionView",
    "bot_lines",
    "bot_state",
    "page_of",
    "replica_views",
    "version_views",
]

Seen = Sequence[tuple[ReplicaReport, BotReport]]


class BotState(StrEnum):
    """How a bot is, in one word; the first of these that is true."""

    RETIRED = "retired"
    UNPLACED = "unplaced"
    """The controller cannot place it."""
    FAILED = "failed"
    """Its last load failed on some replica."""
    LOADING = "loading"
    RESIDENT = "resident"
    """It is in memory on some live replica."""
    ABSENT = "absent"
    """On no replica now; the next request loads it."""


@dataclass(frozen=True, slots=True)
class BotLine:
    """One bot in a list."""

    bot: str
    tenant: str
    group: str
    framework: str
    backbone: str | None
    pin: str | None
    family: str
    version: int
    """The one that is served."""
    latest: int
    pinned: bool
    """The rollout names a version; False: always the newest."""
    state: BotState
    footprint_bytes: int | None
    """Measured; None: never resident on a replica that is known."""
    rate_per_s: float
    size_bytes: int
    """Of the served version's files."""


@dataclass(frozen=True, slots=True)
class BotFilter:
    """Which bots are wanted; None: whatever they have there."""

    tenant: str | None = None
    group: str | None = None
    framework: str | None = None
    state: BotState | None = None
    pattern: str | None = None
    """Of ids, with `*` and `?`."""

    def takes_entry(self, bot: Bot, /) -> bool:
        """Whether all but the state is as wanted."""
        key = bot.serving.family_key
        wanted = ((self.tenant, bot.tenant), (self.group, key.group), (self.framework, key.framework))
        if any(want is not None and want != has for want, has in wanted):
            return False
        return self.pattern is None or fnmatchcase(bot.id, self.pattern)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    bots: tuple[BotLine, ...]
    total: int
    """Bots that the filter takes, on all pages."""
    next_after: str | None
    """The next page starts after this id; None: there is none."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One bot on one replica."""

    pool: str
    replica: str
    live: bool
    """False: it has ended, and this is what it said last."""
    age_s: float
    """Since it said so."""
    ready: bool
    state: Residency
    version: int | None
    footprint_bytes: int
    rate_per_s: float
    load_s: float
    error: str | None
    cost: BotCost | None = None
    """Since it was asked there first; None: it was not, or the replica has not said."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version of a bot."""

    number: int
    serving: bool
    published_at_s: int
    size_bytes: int
    artifact: str
    family: str
    memory_hint_bytes: int | None
    rate_hint_per_s: float | None


def bot_lines(world: World, wanted: BotFilter, /) -> list[BotLine]:
    """The wanted bots, sorted by id."""
    seen = world.seen_of_all()
    lines = [
        _bot_line(bot, world, seen.get(bot.id, ())) for bot in _sorted(world.bots.values()) if wanted.takes_entry(bot)
    ]
    return lines if wanted.state is None else [line for line in lines if line.state is wanted.state]


def page_of(lines: Sequence[BotLine], /, *, after: str | None, limit: int) -> Page:
    """At most `limit` lines (0: all) behind the id `after`."""
    rest = [line for line in lines if after is None or line.bot > after]
    shown = rest[:limit] if limit else rest
    return Page(tuple(shown), len(lines), shown[-1].bot if len(shown) < len(rest) else None)


def bot_state(bot: Bot, world: World, seen: Seen, /) -> BotState:
    """The state of a bot, from what replicas say of it."""
    if bot.retired:
        return BotState.RETIRED
    if bot.id in world.controller.refused:
        return BotState.UNPLACED
    live = [of_bot for report, of_bot in seen if world.is_live(report)]
    # A replica that has ended cannot have changed its mind: a load that failed there fails at the next request too.
    last = live or [of_bot for _, of_bot in sorted(seen, key=lambda pair: pair[0].at_s)[-1:]]
    if any(of_bot.state is Residency.FAILED or of_bot.error for of_bot in last):
        return BotState.FAILED
    states = {of_bot.state for of_bot in live}
    if Residency.LOADING in states:
        return BotState.LOADING
    return BotState.RESIDENT if states & {Residency.RESIDENT, Residency.DRAINING} else BotState.ABSENT


def replica_views(bot_id: BotId, world: World, seen: Seen, /) -> tuple[ReplicaView, ...]:
    """What replicas say of a bot, live ones first."""
    views = [
        ReplicaView(
            pool=report.pool,
            replica=report.replica,
            live=world.is_live(report),
            age_s=world.age_s(report),
            ready=report.ready,
            state=bot.state,
            version=bot.version,
            footprint_bytes=bot.footprint_bytes,
            rate_per_s=bot.rate_per_s,
            load_s=bot.load_s,
            error=bot.error,
            cost=_cost_of(bot_id, report, world),
        )
        for report, bot in seen
    ]
    return tuple(sorted(views, key=lambda view: (not view.live, view.pool, view.replica)))


def _cost_of(bot_id: BotId, report: ReplicaReport, world: World) -> BotCost | None:
    costs = world.costs.get((report.pool, report.replica))
    return costs.bots.get(bot_id) if costs else None


def version_views(bot: Bot, /) -> tuple[VersionView, ...]:
    """The versions of a bot, the newest first."""
    return tuple(_version_view(version, bot) for version in reversed(bot.versions))


def _bot_line(bot: Bot, world: World, seen: Seen) -> BotLine:
    version = bot.serving
    key = version.family_key
    return BotLine(
        bot=bot.id,
        tenant=bot.tenant,
        group=key.group,
        framework=key.framework,
        backbone=key.backbone,
        pin=key.pin,
        family=family_id(key),
        version=version.number,
        latest=bot.latest.number,
        pinned=bot.rollout.version is not None,
        state=bot_state(bot, world, seen),
        footprint_bytes=max((of_bot.footprint_bytes for _, of_bot in seen), default=0) or None,
        rate_per_s=round(sum(of_bot.rate_per_s for report, of_bot in seen if world.is_live(report)), 4),
        size_bytes=version.size_bytes,
    )


def _version_view(version: Version, bot: Bot) -> VersionView:
    return VersionView(
        number=version.number,
        serving=not bot.retired and version.number == bot.serving.number,
        published_at_s=version.published_at_s,
        size_bytes=version.size_bytes,
        artifact=version.artifact,
        family=family_id(version.family_key),
        memory_hint_bytes=version.resources.memory_bytes,
        rate_hint_per_s=version.resources.rate_per_s,
    )


def _sorted(bots: Iterable[Bot]) -> list[Bot]:
    return sorted(bots, key=lambda bot: bot.id)
