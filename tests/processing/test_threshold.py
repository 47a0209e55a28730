"""The step `threshold`."""

from __future__ import annotations

import numpy as np

from tests.processing.running import answer, post_problems

_LABEL = {"step": "label", "labels": ["yes", "no"]}
_STEP = {"step": "threshold", "min": 0.5, "fallback": "out-of-scope"}
_OUTPUTS = [("label", "BYTES", (-1,)), ("score", "FP32", (-1, 1))]


def test_a_low_score_gives_the_fallback() -> None:
    """Below the minimum the fallback stands, at the minimum the label; the score is kept."""
    scores = np.array([[0.25, 0.125], [0.5, 0.0], [0.0, 0.75]], dtype=np.float32)
    assert answer([_LABEL, _STEP], _OUTPUTS, scores) == {
        "label": ["out-of-scope", "yes", "no"],
        "score": [[0.25], [0.5], [0.75]],
    }


def test_it_needs_a_label_before_it() -> None:
    """Without label and score there is nothing to change."""
    assert post_problems([_STEP, _LABEL]) == [
        "postprocess[0].output: must be a BYTES column of an earlier step (there is none), found 'label'",
        "postprocess[0].score: must be a FP32 column of an earlier step (there is none), found 'score'",
    ]


def test_its_fallback_must_be_named() -> None:
    """Minimum and fallback are both needed."""
    found = post_problems([_LABEL, {"step": "threshold"}])
    assert [problem.split(":")[0] for problem in found] == ["postprocess[1].min", "postprocess[1].fallback"]
