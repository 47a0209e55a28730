"""What a bot learns from and what it is asked afterwards, as plain texts and numbers: no framework is needed here."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from examples.bots import HAND_OVER, OUT_OF_SCOPE, BotPlan
from examples.corpus import Corpus
from examples.hyperparameters import Hyperparameters

__all__ = ["Lesson", "lesson_of"]

_HAND_OVER_PHRASES: Final = (
    "let me talk to a human",
    "can i speak with a real person please",
    "I want to chat with an agent",
)
_MOST_OUT_OF_SCOPE_TESTS: Final = 60
"""A sample for each bot: CLINC150 has a thousand."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Training phrases with the numbers of their classes, and test phrases with their true labels."""

    texts: tuple[str, ...]
    classes: tuple[int, ...]
    weights: tuple[float, ...]
    """How much an error in each text counts."""
    asked: tuple[str, ...]
    answers: tuple[str, ...]


def lesson_of(plan: BotPlan, corpus: Corpus, settings: Hyperparameters) -> Lesson:
    """The lesson of one bot. What it is asked is a part of the corpus on which no bot is trained."""
    intents = corpus.intents
    taught = [(text, number) for number, name in enumerate(plan.intents) for text in intents[name].train]
    unrelated = corpus.out_of_scope.train
    a_weight = settings.out_of_scope_weight * len(taught) / (len(plan.intents) * len(unrelated))
    asked = [(text, name) for name in plan.intents for text in intents[name].test]
    asked += [(text, OUT_OF_SCOPE) for text in _sample(plan, corpus.out_of_scope.test)]
    if plan.hands_over:
        asked += [(text, HAND_OVER) for text in _HAND_OVER_PHRASES]
    return Lesson(
        texts=(*(text for text, _ in taught), *unrelated),
        classes=(*(number for _, number in taught), *(len(plan.intents) for _ in unrelated)),
        weights=(*(1.0 for _ in taught), *(a_weight for _ in unrelated)),
        asked=tuple(text for text, _ in asked),
        answers=tuple(answer for _, answer in asked),
    )


def _sample(plan: BotPlan, phrases: Sequence[str]) -> list[str]:
    rng = random.Random(plan.id)  # noqa: S311 - chooses examples, keeps no secret
    return rng.sample(phrases, min(len(phrases), _MOST_OUT_OF_SCOPE_TESTS))
