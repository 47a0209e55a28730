"""The step `normalize`."""

from __future__ import annotations

import pytest

from tests.processing.running import problems, texts_after


@pytest.mark.parametrize(
    ("parameters", "text", "wanted"),
    [
        pytest.param({}, "  Hello,\t WORLD\n", "hello, world", id="lower case and white space"),
        pytest.param({}, "\uff21\uff22\uff23 \ufb01 \u00b2", "abc fi 2", id="compatibility forms"),
        pytest.param({"form": "NFC"}, "ﬁ e\u0301", "ﬁ é", id="canonical form"),
        pytest.param({"lower": False}, "Ab", "Ab", id="case kept"),
        pytest.param({"stripAccents": True}, "Crème Brûlée", "creme brulee", id="accents"),
        pytest.param({}, "Crème", "crème", id="accents kept"),
        pytest.param({"collapseSpace": False}, " a  b ", " a  b ", id="white space kept"),
        pytest.param({}, "a\u00a0\u2003b", "a b", id="other white space"),
        pytest.param({}, "", "", id="empty"),
    ],
)
def test_texts_are_made_alike(parameters: dict[str, object], text: str, wanted: str) -> None:
    """Unicode form, case, accents and white space are each done as declared."""
    assert texts_after([{"step": "normalize", **parameters}], [text]) == [wanted]


def test_rows_are_independent() -> None:
    """Each row becomes what it would become alone."""
    texts = ["A", "É", " b "]
    steps: list[dict[str, object]] = [{"step": "normalize"}]
    assert texts_after(steps, texts) == [texts_after(steps, [text])[0] for text in texts]


def test_an_unknown_form_is_refused() -> None:
    """Forms are named in the refusal."""
    assert problems([{"step": "normalize", "form": "NFD"}]) == [
        "preprocess[0].form: must be 'NFC' or 'NFKC', found 'NFD'"
    ]
