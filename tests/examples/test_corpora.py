"""What people write: the project's own phrases, and CLINC150 where it is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from botshard.sharding.errors import InvalidDocumentError
from examples.corpus import Corpus, load_corpus, own_phrases
from examples.templates import expand


@pytest.fixture(scope="module")
def own() -> Corpus:
    return own_phrases()


@pytest.fixture
def clinc_home(tmp_path: Path) -> Path:
    """A folder as BOTSHARD_DATA names it, with CLINC150's files in small."""
    folder = tmp_path / "clinc150"
    folder.mkdir()
    data = {
        "train": [
            ["what is my balance", "balance"],
            ["how much have i got", "balance"],
            ["book a flight", "book_flight"],
        ],
        "val": [["balance please", "balance"], ["fly me to rome", "book_flight"]],
        "test": [["tell me my balance", "balance"], ["balance please", "balance"], ["get me a flight", "book_flight"]],
        "oos_train": [["why is the sky blue", "oos"]],
        "oos_val": [["who are you", "oos"]],
        "oos_test": [["tell me a joke", "oos"]],
    }
    (folder / "data_full.json").write_text(json.dumps(data))
    (folder / "domains.json").write_text(json.dumps({"travel": ["book_flight"], "banking": ["balance"]}))
    return tmp_path


def test_own_phrases_are_eight_domains_of_six_intents(own: Corpus) -> None:
    """Eight domains, six intents each, and no intent's name stands twice."""
    assert dict.fromkeys(own.domains, 6) == {domain: len(intents) for domain, intents in own.domains.items()}
    assert len(own.domains) == 8
    assert len(own.intents) == 48


def test_every_intent_has_phrases_enough(own: Corpus) -> None:
    """At least 24 phrases to train on and 6 to test; out of scope at least 80 and 40."""
    counts = [(len(phrases.train), len(phrases.test)) for phrases in own.intents.values()]
    assert min(train for train, _ in counts) >= 24
    assert {test for _, test in counts} == {6}
    assert len(own.out_of_scope.train) >= 80
    assert len(own.out_of_scope.test) >= 40


def test_no_test_phrase_is_trained_on(own: Corpus) -> None:
    """No phrase of any test set is in any training set, whatever the intent."""
    every = [*own.intents.values(), own.out_of_scope]
    trained = {phrase for phrases in every for phrase in phrases.train}
    tested = {phrase for phrases in every for phrase in phrases.test}
    assert not trained & tested


def test_no_phrase_means_two_things(own: Corpus) -> None:
    """Within a domain a phrase belongs to one intent only."""
    for intents in own.domains.values():
        seen = Counter(phrase for phrases in intents.values() for phrase in phrases.train + phrases.test)
        assert [phrase for phrase, count in seen.items() if count > 1] == []


def test_own_phrases_are_the_same_each_time(own: Corpus) -> None:
    """Loading is deterministic."""
    assert own == own_phrases()


@pytest.mark.parametrize(
    "environ", [{}, {"BOTSHARD_DATA": ""}, {"BOTSHARD_DATA": "/nowhere"}], ids=["no", "empty", "gone"]
)
def test_without_clinc150_own_phrases_are_taken(environ: dict[str, str]) -> None:
    """BOTSHARD_DATA that is not there, or names no folder with CLINC150, changes nothing."""
    assert load_corpus(environ).name == "own phrases"


def test_clinc150_is_read_as_published(clinc_home: Path) -> None:
    """Validation phrases are trained on; what is tested is not."""
    corpus = load_corpus({"BOTSHARD_DATA": str(clinc_home)})
    balance = corpus.domains["banking"]["balance"]
    assert corpus.name == "CLINC150"
    assert list(corpus.domains) == ["banking", "travel"]
    assert balance.train == ("what is my balance", "how much have i got")
    assert balance.test == ("tell me my balance", "balance please")
    assert corpus.out_of_scope.train == ("why is the sky blue", "who are you")


@pytest.mark.parametrize(
    ("template", "phrases"),
    [
        pytest.param("where is it", ["where is it"], id="plain"),
        pytest.param("(is|was) it", ["is it", "was it"], id="options"),
        pytest.param("is it (here|), please", ["is it here, please", "is it, please"], id="empty-option"),
        pytest.param("to {city}", ["to rome", "to oslo"], id="slot"),
        pytest.param("from {city} to {city}", ["from rome to oslo", "from oslo to rome"], id="slot-twice"),
        pytest.param("go (to {city}|home)", ["go to rome", "go to oslo", "go home"], id="slot-in-option"),
    ],
)
def test_templates_expand_in_order(template: str, phrases: list[str]) -> None:
    """Options and slots stand for their values, in their order."""
    assert expand(template, {"city": ["rome", "oslo"]}) == phrases


@pytest.mark.parametrize("template", ["to {town}", "(a|b", "a) b", "to {city"], ids=["slot", "open", "close", "brace"])
def test_broken_templates_are_refused(template: str) -> None:
    """A slot without values, or brackets that do not pair, is an error and no phrase."""
    with pytest.raises(InvalidDocumentError):
        expand(template, {"city": ["rome"]})
