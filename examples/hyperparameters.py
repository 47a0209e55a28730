"""How the bots are trained: every number in one place, with its reason.

Chosen on CLINC150 by training on its `train` part and looking at its `val` part only. "Accuracy" is the share of a bot's
own phrases that get the right label through the whole pipeline, "recall" the share of out-of-scope phrases that are
recognised as such; a point is one hundredth.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Hyperparameters"]


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One network for all bots, `features → hidden (ReLU) → classes`, and how it learns."""

    features: int = 2048
    """Buckets of the hashed n-grams. 1024 costs 0.4 points of accuracy, 4096 gains nothing."""
    words: tuple[int, int] = (1, 2)
    """Single words and pairs; triples change nothing."""
    chars: tuple[int, int] = (3, 4)
    """Parts of words see through inflections and misspellings: without them accuracy is 2 points lower."""
    hidden: int = 32
    """Half of it is as accurate, but recognises less of what is out of scope."""
    epochs: float = 5.0
    """Passes over a bot's phrases; 4 is 0.4 points worse, 8 takes longer for nothing."""
    batch_rows: int = 64
    """Phrases of one bot a step. Fewer, larger steps (128) cost 0.8 points at the same number of epochs."""
    learning_rate: float = 0.02
    """Of Adam at the first step; it falls in a straight line to a tenth. Large, since there are few steps."""
    out_of_scope_weight: float = 0.3
    """Weight of all out-of-scope phrases together, as multiples of one intent's. It moves the balance: 1 costs a point of
    accuracy and gains 4 of recall."""
    threshold: float = 0.3
    """Least probability of a label that is not given up for out-of-scope. The class of its own does most of the work:
    a threshold alone has to be 0.7 for a recall of 0.8, and then loses 3 points of accuracy."""
    bots_at_once: int = 12
    """Networks in one batched product: more do not fit the cache, fewer pay more for each call."""
    seed: int = 1
    """Of initial weights and of the order of phrases."""
