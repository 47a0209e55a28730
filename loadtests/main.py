"""`python -m loadtests run SCENARIO`, and what belongs to it: `list`, `publish`, `summary`, `baselines`.

Progress goes to standard error, what was measured to standard output and to files; the exit code is 1 where a promise
was missed, 2 where nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from botshard.sharding.errors import ShardingError
from botshard.store.urls import open_store
from loadtests.errors import LoadTestError
from loadtests.fleet import make_fleet
from loadtests.place import publish_fleet
from loadtests.report.document import read_document, write_document
from loadtests.report.inserting import insert
from loadtests.report.page import html_page
from loadtests.report.tables import summary_table, text_report
from loadtests.run import Options, run_scenario
from loadtests.scenarios import SCENARIOS
from loadtests.traffic.popularity import POPULARITIES

__all__ = ["main"]

_DESCRIPTION = """\
Load on a running system. Without --router a local stack is made for the run, and removed with it; all scenarios take
at most two minutes on two cores. Ctrl-C ends a run early, and reports what was asked until then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.do(options)
    except (LoadTestError, ShardingError) as error:
        sys.stderr.write(f"loadtests: {error}\n")
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has read enough
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("loadtests: stopped before anything was asked\n")
        return 130
    return code


def _run(options: argparse.Namespace) -> int:
    scenario = SCENARIOS[options.scenario]
    changed = Options(
        seconds=options.seconds,
        bots=options.bots,
        tenants=options.tenants,
        rate_per_s=options.rate,
        popularity=options.popularity,
        seed=options.seed,
        users=options.users,
        grpc_share=options.grpc_share,
        router=options.router or None,
        grpc=options.grpc or "",
        store_url=options.store or None,
        keys=_keys(options.keys),
    )
    document = run_scenario(scenario, changed, folder=options.folder)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    write_document(out / f"{scenario.name}.json", document)
    (out / f"{scenario.name}.html").write_text(html_page(document), "utf-8")
    print(text_report(document), end="")
    print(f"report: {out / scenario.name}.html and .json")
    return 1 if any(one["ok"] is False for one in document["promises"]) else 0


def _list(_: argparse.Namespace) -> int:
    for scenario in SCENARIOS.values():
        print(f"{scenario.name}: {scenario.what}")
        print(f"    {scenario.bots:,} bots, {scenario.rate_per_s:g} requests a second, {scenario.seconds:g} s")
        for promise in scenario.promises:
            print(f"    {promise.what} {promise.bound_text()}")
    return 0


def _publish(options: argparse.Namespace) -> int:
    """The same bots that `run` asks with the same options."""
    scenario = SCENARIOS[options.scenario]
    fleet = make_fleet(
        options.bots or scenario.bots,
        tenants=options.tenants or scenario.tenants,
        realtime_share=scenario.realtime_share,
        seed=options.seed,
    )
    store = open_store(options.store, os.environ)
    try:
        with tempfile.TemporaryDirectory(prefix="botshard-load-") as folder:
            publish_fleet(store, Path(folder) / "bots", fleet.bots)
    finally:
        store.close()
    print(f"{len(fleet.bots):,} bots are in {store.url}")
    return 0


def _summary(options: argparse.Namespace) -> int:
    try:
        documents = [read_document(path) for path in options.files]
    except (OSError, ValueError) as error:
        raise LoadTestError(str(error)) from error
    _tell("load summary", summary_table(documents), options.into)
    return 0


def _baselines(options: argparse.Namespace) -> int:
    from loadtests.baselines.measure import measure_designs
    from loadtests.baselines.table import baseline_table, table_document

    with tempfile.TemporaryDirectory(prefix="botshard-baselines-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = measure_designs(folder, bots=options.bots, processes=options.processes, seed=options.seed)
    if options.json is not None:
        options.json.write_text(json.dumps(table_document(measured), indent=1, ensure_ascii=False) + "\n", "utf-8")
    _tell("load baselines", baseline_table(measured), options.into)
    return 0


def _tell(name: str, table: str, pages: Sequence[Path]) -> None:
    """Print it, and write it into pages."""
    print(table, end="")
    for page in pages:
        insert(page, name, table)


def _keys(path: Path | None) -> dict[str, str]:
    """A key a tenant. Raises: LoadTestError."""
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text())
        return {str(tenant): str(key) for tenant, key in document.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise LoadTestError(f"{path} holds no JSON object of keys by tenant: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a scenario and report", description=_DESCRIPTION)
    _add_fleet(run)
    run.add_argument("--seconds", type=_positive, metavar="N", help="of load, the warm-up besides")
    run.add_argument("--rate", type=_positive, metavar="N", help="requests a second where nothing is unusual")
    names = ", ".join(POPULARITIES)
    run.add_argument("--popularity", metavar="NAME", help=f"{names}, or a CSV file of the Azure Functions trace")
    run.add_argument("--users", type=int, default=500, metavar="N", help="requests open at once (default: 500)")
    run.add_argument("--router", metavar="URL", help="ask what runs there, not a stack that is made for the run")
    run.add_argument("--grpc", metavar="HOST:PORT", help="the same over gRPC; https://host:port over TLS")
    run.add_argument(
        "--grpc-share", type=float, metavar="N", help="of the requests (default: 0.3, where gRPC is spoken)"
    )
    run.add_argument("--store", metavar="URL", help="of what runs there, for scenarios that publish")
    run.add_argument("--keys", type=Path, metavar="FILE", help="JSON object of API keys by tenant")
    run.add_argument("--out", type=Path, default=Path("load-reports"), metavar="DIR", help="for reports")
    run.add_argument("--folder", type=Path, metavar="DIR", help="keep stack, logs and one line a request there")
    run.set_defaults(do=_run)

    listed = commands.add_parser("list", help="the scenarios and what they promise")
    listed.set_defaults(do=_list)

    publish = commands.add_parser("publish", help="put a scenario's bots into a store, for `run --router`")
    _add_fleet(publish)
    publish.add_argument(
        "--store", required=True, metavar="URL", help="file:///folder or s3://bucket/prefix?endpoint=…"
    )
    publish.set_defaults(do=_publish)

    summary = commands.add_parser("summary", help="reports as one table in Markdown")
    summary.add_argument("files", nargs="+", type=Path, metavar="FILE", help="reports as JSON")
    _add_into(summary)
    summary.set_defaults(do=_summary)

    baselines = commands.add_parser("baselines", help="the two other designs beside this one, as a table")
    baselines.add_argument(
        "--bots", type=int, default=500, metavar="N", help="of the designs that share (default: 500)"
    )
    baselines.add_argument(
        "--processes",
        type=int,
        default=4,
        metavar="N",
        help="of a process a bot, from which it is reckoned (default: 4)",
    )
    baselines.add_argument("--seed", type=int, default=1, metavar="N")
    baselines.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there as well")
    baselines.add_argument("--folder", type=Path, metavar="DIR", help="keep stores and logs there")
    _add_into(baselines)
    baselines.set_defaults(do=_baselines)
    return parser


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--bots", type=int, metavar="N", help="how many")
    parser.add_argument("--tenants", type=int, metavar="N", help="whose they are")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is drawn (default: 1)")


def _add_into(parser: argparse.ArgumentParser) -> None:
    help_text = "write the table into this page too, between its comments"
    parser.add_argument("--into", type=Path, action="append", default=[], metavar="PAGE", help=help_text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("a number over 0 is wanted")
    return number
