"""Which pool of a shard a request goes to. Pure: the policies are functions from pools and their load to an order.

A policy is given the routed pools in the table's order and what this router has in flight at each, and gives the order
in which they are tried. Another policy is another function here and another line in `policy_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from botshard.sharding.ids import PoolName
from botshard.sharding.routing import GroupRoute, PoolRoute

__all__ = ["Policy", "first", "least_outstanding", "policy_of", "untried_first"]

Policy: TypeAlias = Callable[[Sequence[PoolRoute], Callable[[PoolName], int]], Sequence[PoolRoute]]
"""(routed pools, in flight at a pool) -> the same pools in the order to try."""


def first(pools: Sequence[PoolRoute], _outstanding: Callable[[PoolName], int], /) -> Sequence[PoolRoute]:
    """The table's order: as few pools as possible are awake."""
    return pools


def least_outstanding(pools: Sequence[PoolRoute], outstanding: Callable[[PoolName], int], /) -> Sequence[PoolRoute]:
    """Fewest requests in flight first; between equals the table's order."""
    if len(pools) < 2:
        return pools
    if len(pools) == 2:  # nearly always, and every request comes by here
        one, other = pools
        return pools if outstanding(one.name) <= outstanding(other.name) else (other, one)
    return sorted(pools, key=lambda pool: outstanding(pool.name))


def policy_of(group: GroupRoute, /) -> Policy:
    """Realtime pools are all awake and share the load; others are left asleep where one is enough."""
    return least_outstanding if group.realtime else first


def untried_first(order: Sequence[PoolRoute], tries: Mapping[PoolName, int], /) -> Sequence[PoolRoute]:
    """`order`, with the pools that failed this request least often in front."""
    if not tries or len(order) < 2:
        return order
    return sorted(order, key=lambda pool: tries.get(pool.name, 0))
