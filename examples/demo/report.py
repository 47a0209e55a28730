"""What the demo prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from botshard.sharding.catalog import FamilyKey
from botshard.sharding.fleet import PoolStatus
from botshard.sharding.hashing import bot_hash, family_id
from botshard.sharding.ids import Framework, GroupName
from botshard.sharding.routing import RoutingTable
from botshard.sharding.units import format_bytes, format_duration_s
from botshard.store.reports import ReplicaReport
from examples.demo.asking import Comparison, Latency
from examples.demo.measuring import StackMemory
from examples.training import TrainedBot

__all__ = ["Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    corpus: str
    bots: Sequence[TrainedBot]
    table: RoutingTable | None
    pools: Sequence[PoolStatus]
    reports: Sequence[ReplicaReport]
    memory: StackMemory
    alone_bytes: Mapping[str, int]
    """Of one process for one bot, by framework."""
    compared: Comparison
    accuracy_offline: float
    recall_offline: float
    latency: Latency
    woken_s: Mapping[str, float]
    took_s: float

    def print(self, console: Console) -> None:
        """Print it."""
        console.print(self._pools())
        lines = [
            ("answers compared", f"{self.compared.answers} in {self.compared.requests} requests, {self._rate()}"),
            ("answers that differ", str(len(self.compared.differences))),
            ("largest difference of a probability", f"{self.compared.largest_difference:.1e}"),
            ("accuracy in scope, offline", f"{self.accuracy_offline:.2%}"),
            ("accuracy in scope, served", f"{self.compared.mean_accuracy:.2%}"),
            ("out of scope recognised, offline", f"{self.recall_offline:.2%}"),
            ("lone request, p50 / p99", f"{self.latency.p50_s * 1e3:.2f} / {self.latency.p99_s * 1e3:.2f} ms"),
            *((f"woken from zero, {name}", format_duration_s(woken_s)) for name, woken_s in self.woken_s.items()),
            ("memory of all processes", format_bytes(self.memory.total_bytes)),
            ("a process a bot would take", self._alone()),
            ("time of the whole demo", format_duration_s(self.took_s)),
        ]
        table = Table(show_header=False, box=None)
        for name, value in lines:
            table.add_row(name, value)
        console.print(table)

    def _pools(self) -> Table:
        table = Table(title=f"{len(self.bots)} bots in {len(self.pools)} pools")
        for heading in ("pool", "bots", "resident", "footprint", "replicas", "memory"):
            table.add_column(heading, justify="left" if heading == "pool" else "right", no_wrap=True)
        homes = self._bots_by_pool()
        for pool in sorted(self.pools, key=lambda pool: pool.name):
            reports = [report for report in self.reports if report.pool == pool.name]
            resident = sum(bot.state == "resident" for report in reports for bot in report.bots.values())
            table.add_row(
                pool.name,
                str(homes.get(pool.name, 0)),
                str(resident),
                format_bytes(sum(report.resident_bytes for report in reports)),
                str(pool.replicas),
                format_bytes(self.memory.replicas_bytes.get(pool.name, 0)),
            )
        table.add_row("zygotes", "", "", "", "", format_bytes(self.memory.zygotes_bytes))
        table.add_row("front, keeper, router, controller", "", "", "", "", format_bytes(self.memory.programs_bytes))
        return table

    def _bots_by_pool(self) -> dict[str, int]:
        homes: dict[str, int] = {}
        for bot in self.bots:
            key = FamilyKey(GroupName(bot.plan.group), Framework(bot.plan.framework), bot.plan.backbone)
            for pool in self.table.lookup(family_id(key), bot_hash(bot.plan.id)) if self.table else ():
                homes[pool.name] = homes.get(pool.name, 0) + 1
        return homes

    def _rate(self) -> str:
        return f"{self.compared.answers / self.compared.took_s:.0f} answers/s"

    def _alone(self) -> str:
        counts = {name: sum(bot.plan.framework == name for bot in self.bots) for name in self.alone_bytes}
        total = sum(self.alone_bytes[name] * count for name, count in counts.items())
        parts = ", ".join(f"{count} of {format_bytes(self.alone_bytes[name])} {name}" for name, count in counts.items())
        return f"{format_bytes(total)} ({parts}): {total / self.memory.total_bytes:.0f} times as much"
