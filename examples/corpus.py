"""What people write to bots, and what they mean by it: phrases of many domains, each with its intents.

Two sources give the same shape. The phrases in `phrases/*.yaml` are the project's own; where the environment variable
BOTSHARD_DATA names a folder that holds `clinc150/`, CLINC150 is taken instead: 150 intents of 10 domains, by Larson and
others, "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction", EMNLP-IJCNLP 2019.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from botshard.sharding.errors import InvalidDocumentError, Problem
from examples.templates import expand

__all__ = ["PHRASES_FOLDER", "Corpus", "Phrases", "clinc150", "load_corpus", "own_phrases"]

PHRASES_FOLDER: Final = Path(__file__).parent / "phrases"
_OUT_OF_SCOPE_FILE: Final = "out_of_scope.yaml"

_MOST_OF_ONE_TEMPLATE: Final = 8
"""A template with many options would otherwise outweigh the plain ones of its intent."""
_SEED: Final = 150


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases of one intent; none stands in both."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Phrases by domain and intent. No intent's name stands in two domains."""

    name: str
    domains: Mapping[str, Mapping[str, Phrases]]
    """`{domain: {intent: phrases}}`, both sorted by name."""
    out_of_scope: Phrases
    """What none of the domains is about."""

    @property
    def intents(self) -> dict[str, Phrases]:
        """`{intent: phrases}` of all domains."""
        return {intent: phrases for intents in self.domains.values() for intent, phrases in intents.items()}


def load_corpus(environ: Mapping[str, str]) -> Corpus:
    """CLINC150 where `environ["BOTSHARD_DATA"]` names a folder that holds it, else the project's own phrases.

    Raises: InvalidDocumentError if the files are not what they should be.
    """
    data = environ.get("BOTSHARD_DATA")
    if data and (Path(data) / "clinc150").is_dir():
        return clinc150(Path(data) / "clinc150")
    return own_phrases()


def own_phrases(folder: Path = PHRASES_FOLDER) -> Corpus:
    """The phrases of a folder: a file a domain with `slots` and `intents`, and one with what is out of scope."""
    domains = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name != _OUT_OF_SCOPE_FILE:
            document = _read_yaml(path)
            slots = document.get("slots", {})
            intents = document["intents"].items()
            domains[path.stem] = {name: _expanded(path, entry, slots) for name, entry in sorted(intents)}
    path = folder / _OUT_OF_SCOPE_FILE
    return Corpus("own phrases", domains, _expanded(path, _read_yaml(path), {}))


def clinc150(folder: Path) -> Corpus:
    """CLINC150 as published: `data_full.json` and `domains.json`. Its validation phrases join those to train on."""
    data: dict[str, list[tuple[str, str]]] = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    domains: dict[str, list[str]] = json.loads((folder / "domains.json").read_text(encoding="utf-8"))
    train, test = _by_intent(data["train"] + data["val"]), _by_intent(data["test"])
    return Corpus(
        "CLINC150",
        {
            domain: {intent: _disjoint(train[intent], test[intent]) for intent in sorted(intents)}
            for domain, intents in sorted(domains.items())
        },
        _disjoint(_texts(data["oos_train"] + data["oos_val"]), _texts(data["oos_test"])),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise InvalidDocumentError(str(path), [Problem.of("", document, "a mapping with phrases")])
    return document


def _expanded(path: Path, entry: Mapping[str, list[str]], slots: Mapping[str, list[str]]) -> Phrases:
    try:
        train = [phrase for template in entry["train"] for phrase in _some(expand(template, slots))]
    except InvalidDocumentError as error:
        raise InvalidDocumentError(str(path), error.problems) from error
    return _disjoint(train, entry["test"])


def _some(phrases: list[str]) -> list[str]:
    """At most so many, the same ones each time, and in their order."""
    rng = random.Random(f"{_SEED} {phrases[0]}")  # noqa: S311 - chooses examples, keeps no secret
    chosen = sorted(rng.sample(range(len(phrases)), min(len(phrases), _MOST_OF_ONE_TEMPLATE)))
    return [phrases[index] for index in chosen]


def _by_intent(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    phrases: dict[str, list[str]] = {}
    for text, intent in pairs:
        phrases.setdefault(intent, []).append(text)
    return phrases


def _texts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [text for text, _ in pairs]


def _disjoint(train: Iterable[str], test: Iterable[str]) -> Phrases:
    """Each phrase once; what is tested is not trained on."""
    tested = dict.fromkeys(test)
    return Phrases(tuple(text for text in dict.fromkeys(train) if text not in tested), tuple(tested))
