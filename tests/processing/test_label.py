"""The step `label`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from botshard.processing import ModelOutputError
from botshard.sharding.catalog import TensorSpec
from tests.processing.running import answer, post_problems, problems

_STEP = {"step": "label", "labels": ["yes", "no"]}
_OUTPUTS = [("label", "BYTES", (-1, 1)), ("score", "FP32", (-1,))]


def test_the_highest_score_gives_the_label() -> None:
    """Label and score of the highest, the first among equals."""
    scores = np.array([[0.2, 0.75], [0.5, 0.5]], dtype=np.float32)
    assert answer([_STEP], _OUTPUTS, scores) == {"label": [["no"], ["yes"]], "score": [0.75, 0.5]}


def test_after_softmax_the_score_is_a_probability() -> None:
    """The newest scores are taken unless a step names others."""
    logits = np.array([[0.0, 9.0]], dtype=np.float32)
    assert answer([{"step": "softmax"}, _STEP], _OUTPUTS, logits)["score"][0] == pytest.approx(1, abs=1e-3)
    assert answer([_STEP, {"step": "softmax"}], _OUTPUTS, logits)["score"] == [9]


def test_labels_may_stand_in_a_file(tmp_path: Path) -> None:
    """One label a line, in the order of the scores."""
    (tmp_path / "labels.txt").write_text("ja\nnein\n")
    step = {"step": "label", "labels": {"file": "labels.txt"}}
    scores = np.array([[0, 1]], dtype=np.float32)
    assert answer([step], _OUTPUTS[:1], scores, folder=tmp_path) == {"label": [["nein"]]}


def test_another_number_of_scores_is_the_models_fault() -> None:
    """A model with other scores than labels is refused, never mislabelled."""
    with pytest.raises(ModelOutputError, match="has 3 scores a row, but 2 labels are declared"):
        answer([_STEP], _OUTPUTS, np.zeros((1, 3), np.float32))


def test_labels_say_how_many_scores_there_are() -> None:
    """An output of another width than there are labels is refused at publish."""
    found = problems(postprocess=[{"step": "softmax"}, _STEP], outputs=[TensorSpec("probabilities", "FP32", (-1, 3))])
    assert found == ["outputs[0].shape: must be [-1, 2], found [-1, 3]"]


def test_two_steps_cannot_make_one_column() -> None:
    """A second label needs other names."""
    assert post_problems([_STEP, _STEP]) == [
        "postprocess[1].output: must be a name of its own: an earlier step makes a column of that name, found 'label'",
        "postprocess[1].score: must be a name of its own: an earlier step makes a column of that name, found 'score'",
    ]
    assert post_problems([_STEP, {**_STEP, "output": "l2", "score": "s2"}]) == []


def test_steps_that_disagree_about_the_number_of_scores_are_refused() -> None:
    """The same scores cannot have two and three labels."""
    other = {"step": "label", "labels": ["a", "b", "c"], "output": "l2", "score": "s2"}
    (problem,) = post_problems([{"step": "softmax"}, _STEP, other])
    assert problem.startswith("postprocess[2].labels: must be 2 labels, one a score as in an earlier step")
