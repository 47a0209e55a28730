"""Ways to decide what stays in a cache of equal items, to compare with: LRU, LFU, ARC, W-TinyLFU, Belady."""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from itertools import pairwise

from botshard.sharding.ids import BotId
from kserve_runtimes.core.eviction import Keep

__all__ = ["PEERS", "hits_of_arc", "hits_of_belady", "hits_of_lfu", "hits_of_lru", "hits_of_tiny_lfu", "hits_of_us"]

_MEBIBYTE = 1 << 20


def hits_of_us(trace: Sequence[int], room: int) -> list[bool]:
    """The runtime's own."""
    keep = Keep(room * _MEBIBYTE)
    held: set[BotId] = set()
    hits = []
    for item in trace:
        bot = BotId(str(item))
        keep.asked(bot)
        hits.append(bot in held)
        if bot in held:
            continue
        free = room - len(held)
        if not free:
            for victim in keep.victims(_MEBIBYTE, lambda _: True) or ():
                keep.left(victim)
                held.discard(victim)
        held.add(bot)
        keep.loaded(bot, _MEBIBYTE, 0.01)
    return hits


def hits_of_lru(trace: Sequence[int], room: int) -> list[bool]:
    """Whoever was asked longest ago leaves."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = []
    for item in trace:
        hits.append(item in held)
        held[item] = None
        held.move_to_end(item)
        if len(held) > room:
            held.popitem(last=False)
    return hits


def hits_of_lfu(trace: Sequence[int], room: int) -> list[bool]:
    """Whoever was asked least since it came leaves, of several the one that was asked longest ago."""
    held: dict[int, tuple[int, int]] = {}
    heap: list[tuple[int, int, int]] = []
    hits = []
    for moment, item in enumerate(trace):
        hits.append(item in held)
        if item not in held and len(held) == room:
            while True:
                count, asked, least = heapq.heappop(heap)
                if held.get(least) == (count, asked):
                    del held[least]
                    break
        held[item] = (held.get(item, (0, 0))[0] + 1, moment)
        heapq.heappush(heap, (*held[item], item))
    return hits


def hits_of_arc(trace: Sequence[int], room: int) -> list[bool]:  # noqa: C901 - as its authors wrote it down
    """Adaptive replacement: two lists, asked once and more often, whose sizes follow hits among what has left them."""
    once, often = OrderedDict[int, None](), OrderedDict[int, None]()
    once_ghosts, often_ghosts = OrderedDict[int, None](), OrderedDict[int, None]()
    target = 0.0

    def replace(*, from_often_ghost: bool) -> None:
        if once and (len(once) > target or (from_often_ghost and len(once) == target)):
            once_ghosts[once.popitem(last=False)[0]] = None
        else:
            often_ghosts[often.popitem(last=False)[0]] = None

    hits = []
    for item in trace:
        hits.append(item in once or item in often)
        if item in once or item in often:
            once.pop(item, None)
            often.pop(item, None)
            often[item] = None
            continue
        if item in once_ghosts or item in often_ghosts:
            was_often = item in often_ghosts
            if was_often:
                target = max(target - max(1.0, len(once_ghosts) / len(often_ghosts)), 0.0)
            else:
                target = min(target + max(1.0, len(often_ghosts) / len(once_ghosts)), float(room))
            replace(from_often_ghost=was_often)
            (often_ghosts if was_often else once_ghosts).pop(item)
            often[item] = None
            continue
        if len(once) + len(once_ghosts) == room:
            if len(once) < room:
                once_ghosts.popitem(last=False)
                replace(from_often_ghost=False)
            else:
                once.popitem(last=False)
        elif len(once) + len(often) + len(once_ghosts) + len(often_ghosts) >= room:
            if len(once) + len(often) + len(once_ghosts) + len(often_ghosts) == 2 * room:
                often_ghosts.popitem(last=False)
            replace(from_often_ghost=False)
        once[item] = None
    return hits


def hits_of_tiny_lfu(trace: Sequence[int], room: int) -> list[bool]:
    """W-TinyLFU: a window of 1 %, then a segmented LRU that lets in whom a sketch of counts up to 15 prefers."""
    window_size = max(1, room // 100)
    protected_size = (room - window_size) * 8 // 10
    window, probation, protected = OrderedDict[int, None](), OrderedDict[int, None](), OrderedDict[int, None]()
    counts: defaultdict[int, int] = defaultdict(int)  # exact where a sketch would err
    seen = 0
    hits = []
    for item in trace:
        counts[item] = min(counts[item] + 1, 15)
        seen += 1
        if seen == 10 * room:
            seen //= 2
            for known in counts:
                counts[known] //= 2
        held = next((part for part in (window, probation, protected) if item in part), None)
        hits.append(held is not None)
        if held is probation:
            del probation[item]
            protected[item] = None
            if len(protected) > protected_size:
                probation[protected.popitem(last=False)[0]] = None
        elif held is not None:
            held.move_to_end(item)
        else:
            window[item] = None
            if len(window) > window_size:
                candidate = window.popitem(last=False)[0]
                probation[candidate] = None
                if len(probation) + len(protected) > room - window_size:
                    oldest = next(iter(probation))
                    del probation[oldest if counts[candidate] > counts[oldest] else candidate]
    return hits


def hits_of_belady(trace: Sequence[int], room: int) -> list[bool]:
    """Who will be asked latest leaves: no cache that must hold what it is asked for does better. Knows the future."""
    uses: defaultdict[int, deque[int]] = defaultdict(deque)
    for moment, item in enumerate(trace):
        uses[item].append(moment)
    nexts = [len(trace)] * len(trace)
    for times in uses.values():
        for moment, later in pairwise(times):
            nexts[moment] = later
    held: dict[int, int] = {}
    heap: list[tuple[int, int]] = []
    hits = []
    for moment, item in enumerate(trace):
        hits.append(item in held)
        if item not in held and len(held) == room:
            while True:
                later, last = heapq.heappop(heap)
                if held.get(last) == -later:
                    del held[last]
                    break
        held[item] = nexts[moment]
        heapq.heappush(heap, (-nexts[moment], item))
    return hits


PEERS = {
    "LRU": hits_of_lru,
    "LFU": hits_of_lfu,
    "ARC": hits_of_arc,
    "W-TinyLFU": hits_of_tiny_lfu,
    "Belady": hits_of_belady,
}
