"""The process that trains bots of one framework: `python -m examples.training_process FOLDER`, from `subprocesses`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from botshard.oip.tensors import Tensor
from botshard.processing import compile_pipeline
from examples.bots import BotPlan
from examples.exchange import Job, read_job, write_probabilities
from examples.folders import bot_yaml, spec_of
from examples.hyperparameters import Hyperparameters
from examples.lessons import Lesson
from examples.networks import Floats, Integers, Network, Trainer, batches_of, first_stack
from examples.subprocesses import BOT_DONE

__all__ = ["train"]


@dataclass(frozen=True, slots=True)
class _Student:
    """A bot with its lesson as numbers: where its phrases are among all phrases of the job."""

    plan: BotPlan
    taught: Integers
    classes: Integers
    weights: Floats
    asked: Integers


def train(job: Job) -> Iterator[tuple[str, Floats]]:
    """Trains the job's bots and writes their folders; yields a bot's id and the probabilities of what it is asked."""
    places: dict[str, int] = {}
    students = [_student(plan, lesson, places) for plan, lesson in job.bots]
    trainer = _trainer(job.framework, _features(job.bots[0][0], list(places), job.settings))
    classes = max(len(student.plan.labels) for student in students)
    for group in _groups(students, job.settings.bots_at_once):
        for student, network in zip(group, _fit(group, trainer, job.settings, classes), strict=True):
            folder = job.out_dir / student.plan.id
            folder.mkdir(exist_ok=True)
            (folder / "bot.yaml").write_text(bot_yaml(student.plan, job.settings), encoding="utf-8")
            trainer.write(network, student.plan.format, folder)
            yield student.plan.id, _softmax(trainer.logits(network, student.asked))


def _student(plan: BotPlan, lesson: Lesson, places: dict[str, int]) -> _Student:
    """Gives a place to each phrase that has none yet."""
    taught, asked = (
        np.array([places.setdefault(text, len(places)) for text in texts]) for texts in (lesson.texts, lesson.asked)
    )
    weights = np.array(lesson.weights, dtype=np.float32)
    return _Student(plan, taught, np.array(lesson.classes), weights, asked)


def _features(plan: BotPlan, texts: list[str], settings: Hyperparameters) -> Floats:
    """The `(texts, features)` that the bots' steps or their backbone make: the same for all, so any plan will do."""
    if plan.backbone is not None:
        from examples.backbone import encode

        return encode(plan.backbone, texts)
    pipeline = compile_pipeline(spec_of(plan, settings), Path())
    (features,) = pipeline.before({"text": Tensor.of("text", texts)}).values()
    return features


def _trainer(framework: str, features: Floats) -> Trainer:
    if framework == "torch":
        from examples.torch_trainer import TorchTrainer

        return TorchTrainer(features)
    from examples.tensorflow_trainer import TensorflowTrainer

    return TensorflowTrainer(features)


def _groups(students: Sequence[_Student], most: int) -> Iterator[Sequence[_Student]]:
    """Groups of nearly equal size: TensorFlow traces a step for each size."""
    count = -(-len(students) // most)
    bounds = [index * len(students) // count for index in range(count + 1)]
    return (students[first:end] for first, end in pairwise(bounds))


def _fit(group: Sequence[_Student], trainer: Trainer, settings: Hyperparameters, classes: int) -> list[Network]:
    class_counts = [len(student.plan.labels) for student in group]
    lessons = [(student.taught, student.classes, student.weights) for student in group]
    batches = batches_of(lessons, class_counts, settings, classes=classes)
    return trainer.fit(batches, first_stack(len(group), classes, settings)).networks(class_counts)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _main() -> None:
    folder = Path(sys.argv[1])
    probabilities = {}
    for name, rows in train(read_job(folder)):
        probabilities[name] = rows
        print(BOT_DONE, flush=True)
    write_probabilities(folder, probabilities)


if __name__ == "__main__":
    _main()
