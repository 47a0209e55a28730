"""The demo's steps, in order, and its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from botshard.bots.backbones import publish_backbone
from botshard.bots.publish import publish
from botshard.local.front import StackError
from botshard.local.stack_process import StackProcess
from botshard.sharding.fleet import PoolPhase
from botshard.store.base import ObjectStore
from botshard.store.reports import read_reports
from botshard.store.table import TableStore
from botshard.store.urls import open_store
from examples.backbone import encoder_folder, encoder_width
from examples.bots import plan_bots, plan_heads
from examples.corpus import Corpus, load_corpus
from examples.demo.asking import Comparison, ask_all, ask_once, measure_latency
from examples.demo.measuring import cores, measure_one_process_a_bot, measure_stack
from examples.demo.report import Report
from examples.demo.stack import DemoError, minio, stack_in, wait_until
from examples.hyperparameters import Hyperparameters
from examples.training import TrainedBot, mean_accuracy, mean_out_of_scope_recall, train_bots

__all__ = ["Demo"]

_LATENCY_REQUESTS = 1000
_DIFFERENCES_SHOWN = 20
_PIPED_WIDTH = 120


class Demo:
    """One run, in a folder of its own."""

    def __init__(
        self, folder: Path, *, store: str, count: int, environ: Mapping[str, str], backbone: str | None = None
    ) -> None:
        self._folder = folder
        self._store_kind = store
        self._count = count
        self._backbone = backbone
        self._environ = dict(environ)
        self._console = Console()
        if not self._console.is_terminal:
            self._console.width = _PIPED_WIDTH
        self._began_s = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> bool:
        """All of it; False where an answer differed. Raises: DemoError."""
        stored = (
            minio(self._folder, self._environ)
            if self._store_kind == "minio"
            else nullcontext(((self._folder / "store").as_uri(), self._environ))
        )
        with stored as (url, environ), stack_in(self._folder, url, environ) as stack:
            try:
                return self._run(stack, open_store(url, environ), environ)
            except (RuntimeError, StackError) as error:
                raise DemoError(f"{error}\nthe end of the stack's log:\n{stack.log_tail()}") from error

    def _run(self, stack: StackProcess, store: ObjectStore, environ: Mapping[str, str]) -> bool:
        corpus = load_corpus(self._environ)
        self._console.print(f"phrases: {corpus.name}; store: {self._store_kind}; {cores()} cores")
        bots = self._train(corpus)
        if self._backbone is not None:
            with self._step(f"publishing backbone {self._backbone}"):
                publish_backbone(store, self._backbone, encoder_folder(self._backbone), now_s=int(time.time()))
        self._publish(store, [bot.folder for bot in bots])
        url = stack.wait_until_serving()
        families = len({(bot.plan.group, bot.plan.framework) for bot in bots})
        with self._step("placing: every family gets its pools, realtime pools load their bots"):
            wait_until(lambda: self._is_placed(stack, store, families), "the placing of all bots", within_s=90)
        compared = self._ask(url, bots)
        realtime = [bot for bot in bots if bot.plan.group == "realtime" and bot.plan.framework == "torch"]
        with self._step(f"latency: {_LATENCY_REQUESTS} requests of one phrase, one after the other"):
            latency = measure_latency(url, realtime, count=_LATENCY_REQUESTS)
        memory = measure_stack(stack.folder)
        pools = list(stack.statuses().values())
        reports = read_reports(store)[0]
        alone, woken = self._sleep_and_wake(stack, url, bots, environ)
        table = TableStore(store).read()
        report = Report(
            corpus=corpus.name,
            bots=bots,
            table=table[0] if table else None,
            pools=pools,
            reports=reports,
            memory=memory,
            alone_bytes=alone,
            compared=compared,
            accuracy_offline=mean_accuracy(bots),
            recall_offline=mean_out_of_scope_recall(bots),
            latency=latency,
            woken_s=woken,
            took_s=time.monotonic() - self._began_s,
        )
        report.print(self._console)
        for difference in compared.differences[:_DIFFERENCES_SHOWN]:
            self._console.print(f"[red]differs[/red] {difference}", highlight=False)
        return not compared.differences

    def _train(self, corpus: Corpus) -> list[TrainedBot]:
        settings = Hyperparameters()
        plans = plan_bots(corpus, self._count) if self._backbone is None else []
        if self._backbone is not None:
            plans = plan_heads(corpus, self._backbone, self._count)
            settings = replace(settings, features=encoder_width(self._backbone))
        with self._progress("training", len(plans)) as told:
            return train_bots(plans, corpus, self._folder / "bots", progress=told, settings=settings)

    def _publish(self, store: ObjectStore, folders: Sequence[Path]) -> None:
        with self._progress("publishing", len(folders)) as told:
            results = publish(
                store,
                folders,
                now_s=int(time.time()),
                progress=lambda done, steps: told(done * len(folders) // steps, 0),
            )
        problems = [f"{result.folder}: {problem}" for result in results for problem in result.problems]
        if problems:
            raise DemoError("bots were refused:\n" + "\n".join(problems))

    def _ask(self, url: str, bots: list[TrainedBot]) -> Comparison:
        with self._progress("asking", len(bots)) as told:
            return ask_all(url, bots, told)

    def _is_placed(self, stack: StackProcess, store: ObjectStore, families_wanted: int) -> bool:
        """Whether every family has its pools, and realtime pools have loaded all their bots."""
        found = TableStore(store).read()
        if found is None:
            return False
        families = found[0].families.values()
        statuses = stack.statuses().values()
        awake = [status for status in statuses if status.name in found[0].pools]
        if not awake or any(status.phase not in (PoolPhase.READY, PoolPhase.ASLEEP) for status in awake):
            return False
        return len(families) == families_wanted and not any(family.targets for family in families)

    def _sleep_and_wake(
        self, stack: StackProcess, url: str, bots: Sequence[TrainedBot], environ: Mapping[str, str]
    ) -> tuple[dict[str, int], dict[str, float]]:
        """Bytes of a process for one bot, by framework, and how long each kind of sleeping pool took to answer."""
        sleepers = {bot.plan.framework: bot for bot in bots if bot.plan.group == "non-realtime"}
        with self._step("measuring one process a bot, while the non-realtime pools fall asleep"):
            with ThreadPoolExecutor(len(sleepers)) as threads:
                alone = dict(
                    zip(
                        sleepers,
                        threads.map(
                            lambda bot: measure_one_process_a_bot(
                                self._folder / f"alone-{bot.plan.framework}", bot, environ
                            ),
                            sleepers.values(),
                        ),
                        strict=True,
                    )
                )
            wait_until(lambda: _all_asleep(stack), "the sleep of the non-realtime pools", within_s=60)
        with self._step("waking each non-realtime pool by a request"):
            woken = {framework: ask_once(url, bot.plan.id, bot.phrases[0]) for framework, bot in sleepers.items()}
        return alone, woken

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        started_s = time.monotonic()
        with self._console.status(what):
            yield
        self._console.print(f"{what}: {time.monotonic() - started_s:.1f} s", highlight=False)

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        started_s = time.monotonic()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done, _: progress.update(task, completed=done)
        self._console.print(f"{what} {total} bots: {time.monotonic() - started_s:.1f} s", highlight=False)


def _all_asleep(stack: StackProcess) -> bool:
    sleepers = [status for status in stack.statuses().values() if status.name.startswith("non-realtime")]
    return bool(sleepers) and all(status.phase is PoolPhase.ASLEEP for status in sleepers)
