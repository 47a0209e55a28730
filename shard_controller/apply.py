"""Doing what a plan says, in its order: pools first, then the table, then what is no longer needed."""

from __future__ import annotations

import logging

from botshard.logs import fields
from botshard.sharding.plan import Plan
from botshard.sharding.routing import RoutingTable
from botshard.store.table import TableStore
from shard_controller.home import PoolHome

__all__ = ["apply"]

_log = logging.getLogger(__name__)


def apply(plan: Plan, /, *, home: PoolHome, tables: TableStore, table_etag: str | None) -> None:
    """Carry out one plan. Each part may be done again, also by another controller.

    Raises: WorldError; PreconditionFailedError where another controller has published meanwhile.
    """
    if home.ensure(plan.ensure):
        _log.info("pools wanted", extra=fields(pools=len(plan.ensure)))
    if plan.table is not None:
        tables.publish(plan.table, previous_etag=table_etag)
        _log.info("table published", extra=fields(**_summary(plan.table)))
    if plan.remove and home.remove(plan.remove):
        _log.info("pools no longer wanted", extra=fields(pools=", ".join(plan.remove)))


def _summary(table: RoutingTable) -> dict[str, object]:
    families = table.families.values()
    targets = [target for family in families for target in family.targets.values()]
    warming = sum(target.has_begun for target in targets)
    return {
        "epoch": table.epoch,
        "families": len(table.families),
        "pools": len(table.pools),
        "warming": warming,
        "planned": len(targets) - warming,
        "lingering": sum(len(family.lingering) for family in families),
    }
