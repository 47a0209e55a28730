"""What a pool's replica does and costs, beside its peers: `python -m benchmarks.pool [--only NAME…] [--json FILE]`.

    rest: one bot, an MLP 384-256-16, one row a request: KServe's model server, MLServer, TorchServe, PyTriton (those
        that `--peers-python` has, see `benchmarks.peers.make`), and a bare protocol with the same network.
    text: regular expressions, hashed n-grams, an MLP and labels, beside the same work alone in a loop.
    many: 32 bots of one shape, in flight together and one at a time, and their models alone, stacked and not.
    memory: 1,000 bots of 0.392 MiB: memory, loading, the first answer.

Servers run on the first core, one under load at a time, the load generator on the last; figures are medians of
interleaved rounds. Where others use the machine, CPU a request (user and system time of the server's processes) repeats
better than requests a second. gRPC, the encoder and cold starts have benchmarks of their own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import pool_many, pool_memory
from benchmarks.pool_bots import publish_all, write_mlp, write_text_bot
from benchmarks.pool_options import Options
from benchmarks.pool_rest import rest_rows
from benchmarks.pool_text import text_rows
from benchmarks.report import Row, parser, publish

_PEERS_PYTHON = "BENCHMARK_PEERS_PYTHON"


def main() -> int:
    """Measure, print, compare with the bars."""
    options = parser("What a pool's replica does and costs, beside its peers")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1.5, help="of load in each round")
    options.add_argument("--only", nargs="+", metavar="NAME", choices=_PARTS, default=tuple(_PARTS))
    options.add_argument(
        "--peers-python",
        type=Path,
        metavar="PATH",
        default=os.environ.get(_PEERS_PYTHON),
        help=f"Python of an environment with other model servers (default: {_PEERS_PYTHON})",
    )
    wanted = options.parse_args()
    python = None if wanted.peers_python is None else Path(wanted.peers_python).absolute()
    chosen = Options(wanted.rounds, wanted.seconds, python)
    rows: list[Row] = []
    for name in wanted.only:
        with tempfile.TemporaryDirectory(prefix="botshard-pool-") as folder:
            rows += _PARTS[name](Path(folder), chosen)
    return publish(rows, wanted.json)


def _rest(folder: Path, options: Options) -> list[Row]:
    weights = write_mlp(folder / "bots" / "mlp")
    return rest_rows(publish_all(folder, [weights.parent]), weights, options)


def _text(folder: Path, options: Options) -> list[Row]:
    bot = folder / "bots" / "text"
    write_text_bot(bot)
    return text_rows(publish_all(folder, [bot]), options)


def _many(folder: Path, options: Options) -> list[Row]:
    bots = _write_mlps(folder / "bots", [f"head-{number:02}" for number in range(pool_many.BOTS)])
    return pool_many.many_rows(publish_all(folder, bots), options)


def _memory(folder: Path, options: Options) -> list[Row]:
    names = [f"bot-{number:05}" for number in range(pool_memory.BOTS)]
    many = publish_all(folder / "many", _write_mlps(folder / "many" / "bots", names))
    one = publish_all(folder / "one", _write_mlps(folder / "one" / "bots", names[:1]))
    return pool_memory.memory_rows(many, one, options)


def _write_mlps(folder: Path, names: Sequence[str]) -> list[Path]:
    return [write_mlp(folder / name, seed=seed).parent for seed, name in enumerate(names)]


_PARTS: dict[str, Callable[[Path, Options], list[Row]]] = {
    "rest": _rest,
    "text": _text,
    "many": _many,
    "memory": _memory,
}


if __name__ == "__main__":
    sys.exit(main())
