"""How a pool stands with this router, and why, as a document for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botshard.sharding.groups import RoutePolicy
from router.health import Why
from router.pools import PoolState

__all__ = ["CHOSEN", "standing_of"]

CHOSEN: Final[Mapping[RoutePolicy, str]] = {
    RoutePolicy.FIRST: "the first of them that answers",
    RoutePolicy.LEAST_OUTSTANDING: "the one with the fewest requests in flight",
    RoutePolicy.RESPONSE_TIME: "the one where the wait is shortest, by what is in flight and what answers take lately",
    RoutePolicy.DEVICE_MEMORY: "the one with the fewest requests in flight for what is free of its GPU's memory",
}
"""To which pool of a shard a request goes, by policy."""
_REASONS: Final[Mapping[Why, str]] = {
    Why.FAILURES: "requests in a row found no replica",
    Why.OUTLIER: "a larger share of its requests found no replica than at the other pools of the family",
    Why.PROBES: "probes in a row were not answered",
}


def standing_of(pool: PoolState, now_s: float, /) -> dict[str, object]:
    """State, and why it is that; `now_s` by the loop's clock."""
    health, cold = pool.health, pool.cold
    document: dict[str, object]
    if health.why is not None:
        left_s = round(max(0.0, health.ejected_until_s - now_s), 1)
        why = f"{_REASONS[health.why]}; asked again in {left_s:g} s, or when it shows that it is there"
        document = {"state": "ejected", "why": why}
    elif cold is not None and cold.since_s is not None:
        why = f"woken {now_s - cold.since_s:.1f} s ago; {cold.waiting} requests wait for its first answer"
        document = {"state": "starting", "why": why}
    elif cold is not None:
        document = {"state": "may be at zero", "why": "it has not answered lately, and nothing is in flight"}
    elif health.is_slow and (share := health.share(now_s)) < 1.0:
        document = {"state": "slow start", "why": f"it is new or back, and has {share:.0%} of its share of requests"}
    else:
        document = {"state": "healthy", "why": "nothing speaks against it"}
    if health.failures_in_row:
        document["failuresInRow"] = health.failures_in_row
    if pool.answered_s > float("-inf"):
        document["answeredAgoS"] = round(max(0.0, now_s - pool.answered_s), 3)
    if pool.latency is not None:
        document["answersInS"] = round(pool.latency.seconds(now_s), 6)
    if pool.free_bytes is not None:
        document["deviceFreeBytes"] = pool.free_bytes
    if pool.starts.mean_s is not None:
        document["startsInS"] = round(pool.starts.mean_s, 3)
    return document
