"""`python -m drills [NAME…] [--rounds N] [--seconds N] [--minutes N] [--seed S]`: all but the soak, or those named.

Each starts a stack of its own, puts steady load on all its bots, does its harm, and compares what the load has seen
with its bars. Progress goes to standard error, the table to standard output; the exit code is 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Row, parser, publish
from botshard.sharding.errors import WorldError
from drills.damage import damage
from drills.place import say
from drills.pool_killed import pool_killed
from drills.reshard import controller_killed, reshard
from drills.rolling import rolling_restart
from drills.router import router_reloaded, store_gone, table_flips
from drills.soak import soak
from drills.verdict import none_row

__all__ = ["DRILLS", "main"]

DRILLS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "reshard": lambda folder, chosen: reshard(folder, rounds=chosen.rounds, seed=chosen.seed),
    "controller-killed": lambda folder, chosen: controller_killed(
        folder, rounds=max(1, chosen.rounds * 2 // 5), seed=chosen.seed
    ),
    "pool-killed": lambda folder, chosen: pool_killed(folder, rounds=max(1, chosen.rounds // 20), seed=chosen.seed),
    "rolling-restart": lambda folder, chosen: rolling_restart(
        folder, rounds=max(1, chosen.rounds // 20), seed=chosen.seed
    ),
    "damage": lambda folder, chosen: damage(folder, rounds=max(1, chosen.rounds // 20), seed=chosen.seed),
    "router-reloaded": lambda folder, chosen: router_reloaded(
        folder, rounds=max(1, chosen.rounds // 5), seed=chosen.seed
    ),
    "store-gone": lambda folder, chosen: store_gone(folder, gone_s=chosen.seconds, seed=chosen.seed),
    "table-flips": lambda folder, chosen: table_flips(folder, flips=math.ceil(chosen.seconds), seed=chosen.seed),
    "soak": lambda folder, chosen: soak(folder, minutes=chosen.minutes, seed=chosen.seed),
}
_BY_NAME_ALONE = frozenset({"soak"})
"""What takes as long as it is told to."""


def main() -> int:
    """Run the drills, print, compare with the bars."""
    options = parser("Harm done to a live stack under load")
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRILLS)}; none: all but soak")
    options.add_argument("--rounds", type=int, default=100, help="re-shards; the other drills take their share of it")
    options.add_argument("--minutes", type=float, default=30.0, help="of the soak")
    options.add_argument("--seconds", type=float, default=60.0, help="without the store, and of a table each second")
    options.add_argument("--seed", type=int, default=1, help="of everything that is random")
    options.add_argument("--folder", type=Path, metavar="DIR", help="keep the stacks' folders and logs there")
    chosen = options.parse_args()
    unknown = [name for name in chosen.names if name not in DRILLS]
    if unknown:
        options.error(f"no drill {', '.join(unknown)}; there are {', '.join(DRILLS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="botshard-drills-") as temporary:
        for name in chosen.names or [name for name in DRILLS if name not in _BY_NAME_ALONE]:
            say(f"{name}: begins")
            rows += _run(name, (chosen.folder or Path(temporary)) / name, chosen)
    return publish(rows, chosen.json)


def _run(name: str, folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """The rows of one drill; one that cannot come to its end has missed its bars, and the others go on."""
    try:
        return DRILLS[name](folder, chosen)
    except (RuntimeError, OSError, WorldError) as error:
        traceback.print_exc()
        return [none_row(f"{name}: ended early ({' '.join(str(error).split())[:80]})", 1)]
