"""What bots have cost one replica, in an object beside its report: nobody polls it, people and billing read it.

Sums since each bot was asked there first. A replica that starts again begins again at nothing; who needs more than that
adds up differences, and takes a smaller figure than the last as a new beginning. Members that are not known are passed
over, so that what newer replicas write can be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from botshard.sharding.errors import InvalidDocumentError
from botshard.sharding.ids import BotId, PoolName, check_bot_id, check_pool_name
from botshard.sharding.reading import Reader, parse_json
from botshard.store.base import ObjectNotFoundError, ObjectStore
from botshard.store.layout import costs_key, pool_costs_prefix

__all__ = ["COSTS_FORMAT", "BotCost", "ReplicaCosts", "decode_costs", "encode_costs", "read_costs", "write_costs"]

COSTS_FORMAT = "botshard.costs/v1"


@dataclass(frozen=True, slots=True)
class BotCost:
    """One bot on one replica."""

    since_s: int
    """Since when, in seconds since 1970."""
    requests: int
    """That were begun, whatever came of them."""
    rows: int
    """That its model was given."""
    cpu_s: float
    """CPU seconds of its requests; what a batch took for several bots is shared by their own work."""


@dataclass(frozen=True, slots=True)
class ReplicaCosts:
    """One replica at one moment."""

    pool: PoolName
    replica: str
    at_s: float
    """Seconds since 1970 by the replica's clock."""
    bots: Mapping[BotId, BotCost]
    """Only those that were asked."""


def encode_costs(costs: ReplicaCosts, /) -> bytes:
    """The bytes of them: some 70 for each bot that was asked."""
    document = {
        "format": COSTS_FORMAT,
        "pool": costs.pool,
        "replica": costs.replica,
        "atS": costs.at_s,
        "bots": {bot_id: _bot_document(bot) for bot_id, bot in sorted(costs.bots.items())},
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _bot_document(bot: BotCost) -> dict[str, object]:
    figures = {"rows": bot.rows, "cpuS": round(bot.cpu_s, 6)}
    told = {name: figure for name, figure in figures.items() if figure}
    return {"sinceS": bot.since_s, "requests": bot.requests, **told}


def decode_costs(data: bytes, /, name: str = "replica costs") -> ReplicaCosts:
    """The costs in `data`; `name` says which document it is in the error.

    Raises: InvalidDocumentError with every problem and its field.
    """
    reader = Reader.of(parse_json(data, name), name)
    if reader.value.get("format") != COSTS_FORMAT:
        reader.refuse("format", reader.value.get("format"), repr(COSTS_FORMAT))
        reader.finish(name)
    bots = {}
    for bot_id, bot in reader.members("bots"):
        if reader.note(check_bot_id(bot_id, bot.path)):
            bots[BotId(bot_id)] = BotCost(
                since_s=bot.integer("sinceS"),
                requests=bot.integer("requests"),
                rows=bot.integer("rows") if "rows" in bot.value else 0,
                cpu_s=bot.number("cpuS") if "cpuS" in bot.value else 0.0,
            )
    costs = ReplicaCosts(
        pool=PoolName(reader.text("pool", check_pool_name)),
        replica=reader.text("replica"),
        at_s=reader.number("atS"),
        bots=bots,
    )
    reader.finish(name)
    return costs


def write_costs(store: ObjectStore, costs: ReplicaCosts, /) -> None:
    """Store them in place of the replica's last ones."""
    store.put(costs_key(costs.pool, costs.replica), encode_costs(costs))


def read_costs(store: ObjectStore, pool: PoolName, /) -> tuple[tuple[ReplicaCosts, ...], dict[str, str]]:
    """What bots have cost a pool's replicas, sorted by replica; and why others cannot be read, by key."""
    found, problems = [], {}
    for entry in store.list(pool_costs_prefix(pool)):
        try:
            found.append(decode_costs(store.get(entry.key).data, entry.key))
        except ObjectNotFoundError:  # deleted since the listing
            continue
        except InvalidDocumentError as error:
            problems[entry.key] = str(error)
    return tuple(found), problems
