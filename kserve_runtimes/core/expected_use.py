"""How much each bot is expected to be used: in which order bots are loaded, and when enough of them are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from botshard.sharding.catalog import Version
from botshard.sharding.ids import BotId
from kserve_runtimes.core.resident import Resident

__all__ = ["expected_use", "settled_share"]


def expected_use(
    owned: Mapping[BotId, Version], reported: Mapping[BotId, float], measured: Mapping[BotId, float], /
) -> dict[BotId, float]:
    """Requests a second of each bot, of those of which anything is known.

    Args:
        owned: the pool's bots.
        reported: by reports of the pool's replicas, past ones too; 0 means that nobody asks.
        measured: by this replica.
    """
    use = {}
    for bot_id, version in owned.items():
        reported_per_s = reported.get(bot_id)
        if reported_per_s is None:  # new to everybody: its author may know
            reported_per_s = version.resources.rate_per_s or 0.0
        rate_per_s = max(reported_per_s, measured.get(bot_id, 0.0))
        if rate_per_s > 0:
            use[bot_id] = rate_per_s
    return use


def settled_share(entries: Iterable[Resident], use: Mapping[BotId, float], /) -> float:
    """Share of the expected requests, 0 … 1, whose bots are resident, or failed, so that waiting for them is vain.

    A bot of which nothing is known counts as much as the least used of the others. 1 where there are no bots.
    """
    bots = [(entry.settled, use.get(entry.id, 0.0)) for entry in entries]
    least = min((rate for _, rate in bots if rate > 0), default=1.0)
    whole = sum(rate or least for _, rate in bots)
    return sum(rate or least for is_settled, rate in bots if is_settled) / whole if whole else 1.0
