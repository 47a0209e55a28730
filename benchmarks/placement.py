"""How even placement is, how little moves, what planning costs: `python -m benchmarks.placement [--json FILE]`.

Bots are of uneven size (0.5 to 1.5 MiB) and are asked by Zipf's law (exponent 1). Peers place the same bots without a
planner: *rendezvous*, each bot in the first pool of its own order; *modulo*, the bot's hash modulo the number of pools.
Seconds are of CPU, so what else the machine does is not in them. The fleet of half a million bots is planned in a
process of its own, whose largest resident set is told.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from benchmarks.report import Row, parser, publish
from botshard.sharding.catalog import FamilyKey
from botshard.sharding.codec import encode_table
from botshard.sharding.fleet import BotLoad, PoolPhase, PoolStatus, Snapshot
from botshard.sharding.groups import PoolGroupSpec
from botshard.sharding.hashing import bot_hash, family_id, pool_name, rank_pools
from botshard.sharding.ids import BotId, Framework, GroupName, PoolName, ShardIndex
from botshard.sharding.loads import BotLoads
from botshard.sharding.placement import FamilyPlacement, Placement, place
from botshard.sharding.plan import plan
from botshard.sharding.routing import RoutingTable
from botshard.sharding.units import MEBIBYTE
from botshard.sharding.weights import Weight, shard_weights

Result = TypeVar("Result")

_KEY = FamilyKey(GroupName("realtime"), Framework("torch"))
_FAMILY = family_id(_KEY)
_FILL_RATIO = 0.7999
"""Just under what placement fills pools to, so that a fleet gets the number of pools that is asked for."""
_UNBOUNDED = Weight(float("inf"), float("inf"), float("inf"))
_MANY_BOTS, _MANY_POOLS = 500_000, 500
_CHANGED = 100


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("How even placement is, how little moves, what planning costs").parse_args()
    rows = [row for pools, bar in ((16, 0.065), (64, 0.018)) for row in _one_more_pool(pools, bar)]
    rows += _balance_of_requests()
    rows.append(_twenty_thousand())
    with multiprocessing.get_context("spawn").Pool(1) as process:
        rows += _rows_of(process.apply(simulate))
    return publish(rows, options.json)


def _one_more_pool(pools: int, bar: float) -> list[Row]:
    bots = _fleet(20_000)
    before_seen = _seen(bots, pools)
    before = place(before_seen).families[_FAMILY]
    after_seen = replace(_settled(before_seen, before), more_pools={_FAMILY: pools + 1})
    after = place(after_seen).families[_FAMILY]
    moved = _moved(bots, before, after)
    peers = {
        "rendezvous": _moved_by(bots, pools, _first_of_order),
        "modulo": _moved_by(bots, pools, _modulo),
    }
    uneven = {
        name: _busiest_by(bots, pools, how) for name, how in (("rendezvous", _first_of_order), ("modulo", _modulo))
    }
    busiest, grown = _busiest(bots, before)[0], _busiest(bots, after)[0]
    what = f"{pools} → {pools + 1} pools"
    return [
        Row(f"{what}: bots that move", moved, peers, moved * (pools + 1), f"≤ {bar}", ok=moved <= bar),
        Row(f"{pools} pools: bytes of the fullest / mean", busiest, uneven, None, "≤ 1.10", ok=busiest <= 1.10),
        Row(f"{what}: bytes of the fullest / mean", grown, {}, None, "≤ 1.10", ok=grown <= 1.10),
    ]


def _balance_of_requests() -> list[Row]:
    """Where no single shard has more requests than a pool's mean."""
    rows = []
    for pools, replicas in ((8, 1), (16, 2)):
        bots = _fleet(20_000)
        family = place(_seen(bots, pools, replicas=replicas)).families[_FAMILY]
        in_bytes, in_requests = _busiest(bots, family)
        what = f"Zipf, {pools} pools, k = {replicas}"
        plain = {"rendezvous": _busiest_by(bots, pools, _first_of_order, rate=True)} if replicas == 1 else {}
        rows += [
            Row(
                f"{what}: requests/s of the busiest / mean", in_requests, plain, None, "≤ 1.10", ok=in_requests <= 1.10
            ),
            Row(f"{what}: bytes of the fullest / mean", in_bytes, {}, None, "≤ 1.10", ok=in_bytes <= 1.10),
        ]
    return rows


def _twenty_thousand() -> Row:
    seconds, _ = _cpu_s(partial(place, _seen(_fleet(20_000), 8)))
    return Row("20,000 bots, 8 pools: first plan, s", seconds, {}, None, "≤ 1", ok=seconds <= 1)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What half a million bots cost."""

    pools: int
    first_s: float
    incremental_s: float
    growth_s: float
    largest_rss_gib: float
    table_bytes: int
    lookup_us: float


def simulate() -> Simulated:
    """Plan a fleet of 500,000 bots: first, after a hundred changes, and when it outgrows its pools."""
    bots = _fleet(_MANY_BOTS)
    seen = _seen(bots, _MANY_POOLS)
    first_s, placement = _cpu_s(lambda: place(seen))
    family = placement.families[_FAMILY]
    now = _settled(seen, family)
    assert now.table is not None
    incremental = [_cpu_s(partial(_replan, now, bots, number))[0] for number in range(5)]
    growth_s, grown = _cpu_s(lambda: place(replace(now, more_pools={_FAMILY: len(family.pools) + 1})))
    assert len(grown.families[_FAMILY].pools) == len(family.pools) + 1
    return Simulated(
        pools=len(family.pools),
        first_s=first_s,
        incremental_s=statistics.median(incremental),
        growth_s=growth_s,
        largest_rss_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        table_bytes=len(encode_table(now.table)),
        lookup_us=_lookup_us(now.table, bots),
    )


def _rows_of(found: Simulated) -> list[Row]:
    what = f"500,000 bots, {found.pools} pools"
    megabytes = found.table_bytes / 1e6
    return [
        Row(f"{what}: first plan, s", found.first_s, {}, None, "≤ 10", ok=found.first_s <= 10),
        Row(
            f"{what}: memory of the process, GiB",
            found.largest_rss_gib,
            {},
            None,
            "≤ 1.5",
            ok=found.largest_rss_gib <= 1.5,
        ),
        Row(
            f"{what}: plan after 100 changed bots, s",
            found.incremental_s,
            {},
            None,
            "≤ 0.5",
            ok=found.incremental_s <= 0.5,
        ),
        Row(f"{what}: plan of one more pool, s", found.growth_s),
        Row(f"{what}: table, MB", megabytes, {}, None, "< 1", ok=megabytes < 1),
        Row(f"{what}: lookup, hash kept, µs", found.lookup_us, {}, None, "≤ 0.3", ok=found.lookup_us <= 0.3),
    ]


def _fleet(count: int) -> BotLoads:
    draw = random.Random(count)  # noqa: S311 - the same fleet each time
    ranks = list(range(1, count + 1))
    draw.shuffle(ranks)
    total = sum(1 / rank for rank in ranks)
    return BotLoads.of(
        BotLoad(
            BotId(f"customer-{number:06d}"),
            bot_hash(f"customer-{number:06d}"),
            _KEY,
            int(MEBIBYTE * draw.uniform(0.5, 1.5)),
            10_000 / rank / total,
        )
        for number, rank in enumerate(ranks)
    )


def _seen(bots: BotLoads, pools: int, *, replicas: int = 1) -> Snapshot:
    total = sum(bot.footprint_bytes for bot in bots)
    memory = int(replicas * total / pools / _FILL_RATIO)
    group = PoolGroupSpec(
        _KEY.group, True, shard_replicas=replicas, pool_memory_bytes=memory, bots_per_pool=10 * len(bots)
    )
    return Snapshot({group.name: group}, bots, None)


def _settled(seen: Snapshot, family: FamilyPlacement) -> Snapshot:
    """The same fleet with everything where it should be."""
    urls = {name: PoolStatus(name, f"http://{name}.example", PoolPhase.READY, 1, 1) for name in family.pools}
    now = replace(seen, pools=urls)
    table = plan(now, Placement({family.id: family}), now_s=0.0, grace_s=1.0).table
    assert table is not None
    return replace(now, table=table, warmed=dict.fromkeys(urls, table.epoch))


def _replan(now: Snapshot, bots: BotLoads, number: int) -> None:
    """A controller's turn after a hundred bots: ninety have grown or shrunk, ten are new."""
    draw = random.Random(number)  # noqa: S311 - the same changes each time
    old = _some(bots, draw, _CHANGED - 10)
    sized = [replace(bot, footprint_bytes=int(MEBIBYTE * draw.uniform(0.5, 1.5))) for bot in old]
    names = [f"new-{number}-{index}" for index in range(10)]
    new = [BotLoad(BotId(name), bot_hash(name), _KEY, MEBIBYTE) for name in names]
    assert isinstance(now.bots, BotLoads)
    later = replace(now, bots=now.bots.changed([*sized, *new]))
    plan(later, place(later), now_s=0.0, grace_s=1.0)


def _some(bots: BotLoads, draw: random.Random, count: int) -> list[BotLoad]:
    names = (BotId(f"customer-{draw.randrange(len(bots)):06d}") for _ in range(count))
    return [bot for name in dict.fromkeys(names) if (bot := bots.get(name)) is not None]


def _moved(bots: BotLoads, before: FamilyPlacement, after: FamilyPlacement) -> float:
    """Share of the bots whose pools are others."""
    old = before.split_to(after.bits)
    changed = [set(was) != set(now) for was, now in zip(old.shards, after.shards, strict=True)]
    weights = shard_weights(bots, after.bits, _UNBOUNDED)
    return sum(weight.bots for weight, is_changed in zip(weights, changed, strict=True) if is_changed) / len(bots)


def _busiest(bots: BotLoads, family: FamilyPlacement) -> tuple[float, float]:
    """Bytes and requests a second of the pool that has most, each as a multiple of the mean."""
    carried = dict.fromkeys(family.pools, Weight())
    for weight, names in zip(shard_weights(bots, family.bits, _UNBOUNDED), family.shards, strict=True):
        for name in names:
            carried[name] += weight
    return (
        _over_mean([weight.footprint_bytes for weight in carried.values()]),
        _over_mean([weight.rate_milli_per_s for weight in carried.values()]),
    )


def _over_mean(values: Sequence[float]) -> float:
    return max(values) * len(values) / sum(values)


def _names(count: int) -> list[PoolName]:
    return [pool_name(_KEY.group, _FAMILY, ordinal) for ordinal in range(count)]


def _first_of_order(bot: BotLoad, pools: Sequence[PoolName]) -> PoolName:
    return rank_pools(ShardIndex(bot.hash >> 44), 20, pools)[0]


def _modulo(bot: BotLoad, pools: Sequence[PoolName]) -> PoolName:
    return pools[bot.hash % len(pools)]


_How = Callable[[BotLoad, Sequence[PoolName]], PoolName]


def _moved_by(bots: BotLoads, count: int, how: _How) -> float:
    few, more = _names(count), _names(count + 1)
    sample = [bot for index, bot in enumerate(bots) if index % 4 == 0]
    return sum(how(bot, few) != how(bot, more) for bot in sample) / len(sample)


def _busiest_by(bots: BotLoads, count: int, how: _How, *, rate: bool = False) -> float:
    pools = _names(count)
    carried = dict.fromkeys(pools, 0.0)
    for bot in bots:
        carried[how(bot, pools)] += bot.rate_per_s if rate else bot.footprint_bytes
    return _over_mean(list(carried.values()))


def _lookup_us(table: RoutingTable, bots: BotLoads) -> float:
    hashes = [bot.hash for _, bot in zip(range(50_000), bots, strict=False)]
    lookup = table.lookup
    rounds = []
    for _ in range(9):
        started_s = time.process_time()
        for hash_of_bot in hashes:
            lookup(_FAMILY, hash_of_bot)
        looked_s = time.process_time()
        for _hash in hashes:
            pass
        rounds.append((2 * looked_s - started_s - time.process_time()) / len(hashes) * 1e6)
    return statistics.median(rounds)


def _cpu_s(work: Callable[[], Result]) -> tuple[float, Result]:
    started_s = time.process_time()
    result = work()
    return time.process_time() - started_s, result


if __name__ == "__main__":
    sys.exit(main())
