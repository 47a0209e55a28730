"""A plan as something to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from botshard.cli.output import Column, note, print_pairs, print_table
from botshard.sharding.ids import PoolName
from botshard.sharding.placement import Refusal
from botshard.sharding.preview import FamilyPreview, Move, Preview
from botshard.sharding.units import format_bytes, format_duration_s
from botshard.store.intents import Intents

__all__ = ["PlanView", "print_plan"]

_MOST_ROWS = 20
_FAMILY_COLUMNS = (
    Column("FAMILY"),
    Column("GROUP"),
    Column("BOTS", right=True),
    Column("POOLS", right=True),
    Column("BUSIEST BYTES", right=True),
    Column("BUSIEST RATE", right=True),
    Column("BLAST RADIUS", right=True),
)
_MOVE_COLUMNS = (
    Column("FROM"),
    Column("TO"),
    Column("SHARDS", right=True),
    Column("BOTS", right=True),
    Column("BYTES", right=True),
    Column("RATE/S", right=True),
)


@dataclass(frozen=True, slots=True)
class PlanView:
    """What would happen, and what stands in the way."""

    epoch: int | None
    """Of the table it starts from; None: there is none."""
    group_files: tuple[str, ...]
    intents: Intents
    """What the plan is asked for, on top of groups and bots."""
    preview: Preview
    waiting: tuple[str, ...]
    """What the controller's next step would wait for."""
    moving: int
    """Shards that are not where they should be now, those on their way included."""
    moved_at_once: int
    """Shards whose pools are all quarantined: they go to their new pools before these have loaded their bots."""
    refused: tuple[Refusal, ...]
    """Bots that cannot be placed."""
    problems: dict[str, str]

    @property
    def changes(self) -> bool:
        """Whether anything would change."""
        return bool(self.preview.moves) or any(one.pools_added or one.pools_removed for one in self.preview.families)


def print_plan(view: PlanView, /) -> None:
    """The plan on stdout, what stands in its way on stderr."""
    preview = view.preview
    print_table(_FAMILY_COLUMNS, map(_family_cells, preview.families))
    print()
    for line in _pool_lines(view):
        print(line)
    if preview.moves:
        rows = _by_pools(preview.moves)
        print_table(_MOVE_COLUMNS, rows[:_MOST_ROWS])
        if len(rows) > _MOST_ROWS:
            print(f"and {len(rows) - _MOST_ROWS} more pairs of pools; --json lists every shard")
        print()
    is_there = f"{view.moving} shards are on their way" if view.moving else "every shard is where it should be"
    print_pairs(_totals(preview) if view.changes else [("Nothing changes", is_there)])
    if view.moved_at_once:
        note(
            f"{view.moved_at_once} shards have no pool but quarantined ones: they go to new ones that are not warm yet"
        )
    for sentence in view.waiting:
        note(f"the controller would wait: {sentence}")
    for refusal in view.refused[:_MOST_ROWS]:
        note(f"{refusal.bot} cannot be placed: {refusal.reason}")
    if len(view.refused) > _MOST_ROWS:
        note(f"{len(view.refused) - _MOST_ROWS} more bots cannot be placed; --json lists them")


def _family_cells(family: FamilyPreview) -> list[object]:
    pools = str(family.pools_after)
    if family.pools_before != family.pools_after:
        pools = f"{family.pools_before} → {family.pools_after}"
    before, after = family.blast_before, family.blast_after
    return [
        family.id,
        family.key.group,
        family.bots,
        pools,
        _change(family.busiest_bytes_before, family.busiest_bytes_after, "{:.2f} of mean"),
        _change(family.busiest_rate_before, family.busiest_rate_after, "{:.2f} of mean"),
        _change(before.share if before else None, after.share if after else None, "{:.1%}"),
    ]


def _change(before: float | None, after: float | None, form: str) -> str | None:
    """`1.00 → 1.04`, or one of them where they read alike or the other is not there."""
    shown = [form.format(value) for value in (before, after) if value is not None]
    return " → ".join(dict.fromkeys(shown)) or None


def _pool_lines(view: PlanView) -> Iterator[str]:
    for family in view.preview.families:
        for name in family.pools_added:
            yield f"+ {name}"
        for name in family.pools_removed:
            yield f"- {name}" + _why_removed(name, view.intents)


def _why_removed(name: PoolName, intents: Intents) -> str:
    if name in intents.quarantine:
        return " (quarantined)"
    return " (drained)" if name in intents.drain else ""


def _by_pools(moves: tuple[Move, ...]) -> list[list[object]]:
    """Moves summed by the pools that they leave and come to, heaviest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for move in moves:
        carried = sums.setdefault((" ".join(move.leaves), " ".join(move.comes_to)), [0, 0, 0, 0.0])
        for index, value in enumerate((1, move.bots, move.bytes, move.rate_per_s)):
            carried[index] += value
    ordered = sorted(sums.items(), key=lambda item: (-item[1][2], item[0]))
    return [
        [leaves, comes, int(shards), int(bots), format_bytes(size), f"{rate:.1f}"]
        for (leaves, comes), (shards, bots, size, rate) in ordered
    ]


def _totals(preview: Preview) -> list[tuple[str, object]]:
    took = "for how long is not known: no load was measured yet"
    if preview.warm_s is not None:
        took = f"about {format_duration_s(preview.warm_s)}"
    ideal = preview.ideal_ratio
    return [
        ("Bots that move", f"{preview.bots_moved_ratio:.2%} (ideal {ideal:.2%})"),
        ("Traffic that moves", f"{preview.traffic_moved_ratio:.2%}"),
        ("Shards that move", len(preview.moves)),
        ("To warm", f"{format_bytes(preview.warm_bytes)}, {took}"),
        ("To load on demand", format_bytes(preview.on_demand_bytes)),
    ]
