"""Trains many bots fast: a process a framework, many bots in one batched product, one folder for each bot.

The process that calls `train_bots` imports no framework. What a bot answers is computed here a second time, from the
network as it was in memory when its training ended and never from its artifact: what is served has to equal it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from threading import Lock

import numpy as np

from examples.bots import HAND_OVER, HAND_OVER_PATTERN, OUT_OF_SCOPE, BotPlan
from examples.corpus import Corpus
from examples.exchange import Job, read_probabilities
from examples.hyperparameters import Hyperparameters
from examples.lessons import Lesson, lesson_of
from examples.networks import Floats
from examples.subprocesses import run_job

__all__ = ["TrainedBot", "mean_accuracy", "mean_out_of_scope_recall", "train_bots"]


@dataclass(frozen=True, slots=True)
class TrainedBot:
    """A bot's folder, and what it has to answer to the phrases it was not trained on."""

    plan: BotPlan
    folder: Path
    phrases: tuple[str, ...]
    true_labels: tuple[str, ...]
    """What each phrase means."""
    offline_labels: tuple[str, ...]
    """What the bot says it means: right or wrong, a served answer equals it."""
    probabilities: Floats
    """`(phrases, labels)`, in the order of `plan.labels`."""

    @property
    def accuracy(self) -> float:
        """Share of right labels among phrases of the bot's own intents; an unwarranted out-of-scope is wrong."""
        return self._share_right(self.plan.intents)

    @property
    def out_of_scope_recall(self) -> float:
        """Share of out-of-scope phrases that are recognised as such."""
        return self._share_right((OUT_OF_SCOPE,))

    def _share_right(self, labels: Sequence[str]) -> float:
        pairs = zip(self.true_labels, self.offline_labels, strict=True)
        return fmean(true == offline for true, offline in pairs if true in labels)


def mean_accuracy(bots: Iterable[TrainedBot]) -> float:
    """Mean over bots of the accuracy in scope."""
    return fmean(bot.accuracy for bot in bots)


def mean_out_of_scope_recall(bots: Iterable[TrainedBot]) -> float:
    """Mean over bots of the recall of what is out of scope."""
    return fmean(bot.out_of_scope_recall for bot in bots)


def train_bots(
    plans: Sequence[BotPlan],
    corpus: Corpus,
    out_dir: Path,
    *,
    processes: int = 2,
    progress: Callable[[int, int], None] | None = None,
    settings: Hyperparameters | None = None,
) -> list[TrainedBot]:
    """Trains and writes all bots, each into `out_dir/<its id>`; the same arguments give the same bots.

    (Their numbers are the same: a Keras file also holds the time at which it was written.)

    Args:
        plans: the bots, with ids of their own.
        corpus: what they learn from and are asked.
        out_dir: made where it is not there.
        processes: so many at once; two use two cores, one for each framework.
        progress: is told after every bot how many of how many are done.
        settings: how they learn.

    Raises: TrainingError if a process fails.
    """
    settings = settings or Hyperparameters()
    out_dir.mkdir(parents=True, exist_ok=True)
    lessons = {plan.id: lesson_of(plan, corpus, settings) for plan in plans}
    jobs = [
        Job(framework, [(plan, lessons[plan.id]) for plan in part], out_dir.resolve(), settings)
        for framework, part in _parts(plans, processes)
    ]
    count = _Count(len(plans), progress)
    with tempfile.TemporaryDirectory(prefix="botshard-training-") as work, ThreadPoolExecutor(processes) as threads:
        folders = [Path(work, str(index)) for index in range(len(jobs))]
        list(threads.map(lambda job, folder: run_job(job, folder, count.one_more), jobs, folders))
        probabilities = {name: found for folder in folders for name, found in read_probabilities(folder).items()}
    return [_trained(plan, lessons[plan.id], probabilities[plan.id], out_dir, settings) for plan in plans]


def _parts(plans: Sequence[BotPlan], processes: int) -> Iterable[tuple[str, list[BotPlan]]]:
    """The frameworks' bots, those of each in as many parts as it has processes of its own."""
    pieces = max(1, processes // 2)
    for framework, group in groupby(sorted(plans, key=lambda plan: plan.framework), key=lambda plan: plan.framework):
        bots = list(group)
        yield from ((framework, part) for part in (bots[index::pieces] for index in range(pieces)) if part)


class _Count:
    """Counts the bots that several processes have done."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = Lock()

    def one_more(self) -> None:
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)


def _trained(
    plan: BotPlan, lesson: Lesson, probabilities: Floats, out_dir: Path, settings: Hyperparameters
) -> TrainedBot:
    return TrainedBot(
        plan=plan,
        folder=out_dir / plan.id,
        phrases=lesson.asked,
        true_labels=lesson.answers,
        offline_labels=tuple(_labels(plan, lesson.asked, probabilities, settings)),
        probabilities=probabilities,
    )


def _labels(plan: BotPlan, phrases: Sequence[str], probabilities: Floats, settings: Hyperparameters) -> Iterable[str]:
    best = np.argmax(probabilities, axis=1)
    for phrase, index, row in zip(phrases, best, probabilities, strict=True):
        if plan.hands_over and re.search(HAND_OVER_PATTERN, phrase):
            yield HAND_OVER
        else:
            yield plan.labels[index] if row[index] >= settings.threshold else OUT_OF_SCOPE
