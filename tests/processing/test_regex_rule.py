"""The step `regex-rule`."""

from __future__ import annotations

import numpy as np

from botshard.oip.tensors import Tensor
from botshard.sharding.catalog import TensorSpec
from tests.processing.running import answer, pipeline, post_problems, problems

_LABEL = {"step": "label", "labels": ["yes", "no"]}
_STEP = {"step": "regex-rule", "pattern": r"(?i)\bagent\b", "label": "human"}
_OUTPUTS = [("label", "BYTES", (-1, 1)), ("score", "FP32", (-1, 1))]
_SCORES = np.array([[0.75, 0.25], [0.25, 0.75]], dtype=np.float32)


def test_a_text_that_matches_gets_the_label_of_the_rule() -> None:
    """The rule overrides the model in the rows that match, and in no other."""
    found = answer([_LABEL, _STEP], _OUTPUTS, _SCORES, texts=["an AGENT, please", "agents"])
    assert found == {"label": [["human"], ["no"]], "score": [[0.75], [0.75]]}


def test_a_rule_may_be_certain() -> None:
    """With a certainty the score of a matching row becomes that."""
    found = answer([_LABEL, {**_STEP, "certainty": 1}], _OUTPUTS, _SCORES, texts=["agent", "no"])
    assert found["score"] == [[1], [0.75]]


def test_the_text_is_looked_at_as_the_client_sent_it() -> None:
    """What the steps before the model did to the text does not matter."""
    compiled = pipeline(
        [{"step": "normalize"}, {"step": "hash-ngrams", "features": 8, "words": [1, 1]}],
        [_LABEL, {"step": "regex-rule", "pattern": "^HELP$", "label": "help"}],
        outputs=[TensorSpec("label", "BYTES", (-1, 1))],
    )
    inputs = {"text": Tensor.of("text", ["HELP", "help"])}
    compiled.before(inputs)
    assert compiled.after({"y": _SCORES}, inputs)["label"].data == [b"help", b"no"]


def test_later_rules_win() -> None:
    """Rules are applied in order."""
    rules = [_STEP, {"step": "regex-rule", "pattern": "bot", "label": "robot"}]
    assert answer([_LABEL, *rules], _OUTPUTS[:1], _SCORES[:1], texts=["agent or bot"]) == {"label": [["robot"]]}


def test_it_needs_a_label_and_a_text() -> None:
    """Without a label before it, or a text to look at, a rule is refused."""
    (problem,) = post_problems([_STEP])
    assert problem.startswith("postprocess[0].output: must be a BYTES column of an earlier step")
    (problem,) = problems(
        postprocess=[_LABEL, _STEP],
        inputs=[TensorSpec("x", "FP32", (-1, 2))],
        outputs=[TensorSpec("label", "BYTES", (-1, 1))],
    )
    assert problem == ("postprocess[1].input: must be the name of a BYTES input (the bot declares none), found nothing")
