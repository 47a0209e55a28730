"""How the bots are trained: every number in one place, with its reason.

The reasons are measurements on CLINC150, made with 48 bots by training on its `train` part and looking at its `val`
part, one number changed at a time. "Accuracy" is the share of phrases of a bot's own intents that get the right label
through the whole pipeline, "recall" the share of out-of-scope phrases that are recognised; a point is one hundredth,
and two tenths of a point are chance.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Hyperparameters"]


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One network for all bots, `features → hidden (ReLU) → classes`, and how it learns."""

    features: int = 2048
    """Buckets of the hashed n-grams. 1024 costs 0.4 points of accuracy; 4096 gains 0.2 and doubles every file."""
    words: tuple[int, int] = (1, 2)
    """Single words and pairs. Without pairs both figures are a little lower, triples change nothing."""
    chars: tuple[int, int] = (3, 4)
    """Parts of words, which see through inflections and misspellings. Pairs of characters take longer for nothing."""
    hidden: int = 32
    """64 is no better and doubles every file, 16 costs 2.5 points of recall."""
    steps: int = 80
    """60 cost 2 points of recall, 120 gain nothing. Five to ten times each phrase, as large as the corpus is."""
    batch_rows: int = 64
    """Phrases of one bot a step. Half the steps with twice as many cost 0.4 points of accuracy."""
    learning_rate: float = 0.02
    """Of Adam at the first step; it falls in a straight line to a tenth. Half of it costs 4.5 points of recall."""
    out_of_scope_weight: float = 1.0
    """Weight of all out-of-scope phrases together, as multiples of one intent's. 0.3 gains 0.1 points of accuracy and
    costs 3.5 of recall, 0.1 gains 0.5 and costs 14."""
    threshold: float = 0.3
    """Least probability of a label that is not given up for out-of-scope. The class of its own does most of the work: a
    threshold without it, at 0.7, has 0.5 points less accuracy and a recall of 0.66."""
    bots_at_once: int = 12
    """Networks in one batched product: more do not fit the cache, fewer pay more for each call."""
    seed: int = 1
    """Of initial weights and of the order of phrases."""
