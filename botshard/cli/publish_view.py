"""What became of published folders, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from botshard.bots.bot_file import BOT_FILE
from botshard.bots.publish import PublishResult, PublishStatus
from botshard.sharding.units import format_duration_s

__all__ = ["FolderOutcome", "PublishSummary", "problem_lines", "summarize"]


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """One folder."""

    folder: str
    bot: str | None
    version: int | None
    status: PublishStatus
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishSummary:
    """All folders of one call."""

    store: str
    dry_run: bool
    took_s: float
    created: int
    unchanged: int
    restored: int
    refused: int
    folders: tuple[FolderOutcome, ...]

    @property
    def sentence(self) -> str:
        """The numbers, for people."""
        counts = (("created", self.created), ("unchanged", self.unchanged), ("restored", self.restored))
        parts = [f"{count} {word}" for word, count in counts if count]
        broken = sum(1 for folder in self.folders if folder.problems)
        if self.refused:
            held_back = self.refused - broken
            parts.append(
                f"{self.refused} refused" + (f" ({held_back} only because of the others)" if held_back else "")
            )
        would = "would be " if self.dry_run else ""
        end = "" if self.dry_run else f" in {format_duration_s(self.took_s)}"
        hint = "; nothing was stored (--keep-going publishes the good ones)" if self._nothing_stored else ""
        return f"{would}{', '.join(parts)}{end}: {self.store}{hint}"

    @property
    def _nothing_stored(self) -> bool:
        return self.refused == len(self.folders) > 1 and not self.dry_run


def summarize(results: Sequence[PublishResult], *, store: str, dry_run: bool, took_s: float) -> PublishSummary:
    """The results of one `publish`, counted."""
    counts = Counter(result.status for result in results)
    return PublishSummary(
        store=store,
        dry_run=dry_run,
        took_s=round(took_s, 3),
        created=counts[PublishStatus.CREATED],
        unchanged=counts[PublishStatus.UNCHANGED],
        restored=counts[PublishStatus.RESTORED],
        refused=counts[PublishStatus.REFUSED],
        folders=tuple(
            FolderOutcome(str(one.folder), one.bot_id, one.version, one.status, tuple(map(str, one.problems)))
            for one in results
        ),
    )


def problem_lines(results: Sequence[PublishResult], /) -> list[str]:
    """`<file>: <field>: must be …, found …` for every problem of every folder, in the order of the folders."""
    return [f"{result.folder / BOT_FILE}: {problem}" for result in results for problem in result.problems]
