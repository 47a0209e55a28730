"""Reading the folder of a sentence encoder, laid out as sentence-transformers writes it; every problem at once.

| file | what is taken from it |
| --- | --- |
| `config.json` | the sizes of the BERT |
| `model.safetensors` | the weights, float32; what the encoder does not need (a pooler) may be there too |
| `vocab.txt` | the word pieces, one a line |
| `tokenizer_config.json` | whether case counts; absent: it does not |
| `sentence_bert_config.json` | the most tokens of a text; absent: all positions |
| `modules.json`, `1_Pooling/config.json` | must say mean pooling, then length 1; absent: that is taken for granted |

Only weights and vocabulary become files of the artifact: everything else is in its spec.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from botshard.bots.encoder_spec import VOCABULARY_FILE, WEIGHTS_FILE, EncoderSpec
from botshard.bots.safetensors_file import check_float32_tensors
from botshard.sharding.errors import InvalidDocumentError, Problem
from botshard.sharding.reading import parse_json

__all__ = ["EncoderFolder", "check_encoder_files", "read_encoder_folder", "read_vocabulary"]

SPECIAL_TOKENS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_SIZES: Final = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "inner",
    "vocab_size": "vocabulary",
    "max_position_embeddings": "positions",
    "type_vocab_size": "types",
}
_FIXED: Final[Mapping[str, tuple[object, ...]]] = {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute", None),
}
"""What of a `config.json` changes the computation, and the values that are computed here."""
_MODULES: Final = ["Transformer", "Pooling", "Normalize"]
_MOST_JSON_BYTES: Final = 1 << 20
_MOST_VOCABULARY_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class EncoderFolder:
    """A folder that was found to be an encoder."""

    folder: Path
    spec: EncoderSpec
    files: tuple[str, ...] = (WEIGHTS_FILE, VOCABULARY_FILE)
    """Names of the files that are published."""


@dataclass(slots=True)
class _Reading:
    """A folder on its way to becoming an encoder."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)

    def document(self, name: str, *, is_required: bool = False) -> dict[str, object] | None:
        """A file of JSON that holds an object; None where it is absent or wrong."""
        found = self.json(name, is_required=is_required)
        if found is None or isinstance(found, dict):
            return found
        self.refuse(name, found, "an object")
        return None

    def json(self, name: str, *, is_required: bool = False) -> object:
        """A file of JSON; None where it is absent or wrong."""
        path = self.folder / name
        if not path.is_file() or path.stat().st_size > _MOST_JSON_BYTES:
            if is_required or path.exists():
                self.problems.append(Problem(name, "nothing" if not path.exists() else "no such file", "a small file"))
            return None
        try:
            return parse_json(path.read_bytes(), name)
        except InvalidDocumentError as error:
            self.problems += [Problem(name, problem.found, problem.expected) for problem in error.problems]
            return None

    def refuse(self, where: str, value: object, expected: str) -> None:
        """Note a problem."""
        self.problems.append(Problem.of(where, value, expected))


def read_encoder_folder(folder: Path, /) -> EncoderFolder:
    """The encoder in `folder`. Nothing in it is executed.

    Raises: InvalidDocumentError with every problem.
    """
    reading = _Reading(folder)
    spec = _read_spec(reading)
    _check_pooling(reading)
    if spec is not None:
        reading.problems += check_encoder_files(folder, spec)
    if spec is None or reading.problems:
        raise InvalidDocumentError(str(folder), reading.problems)
    return EncoderFolder(folder, spec)


def check_encoder_files(folder: Path, spec: EncoderSpec, /) -> list[Problem]:
    """What is wrong with weights and vocabulary; also for the folder of a fetched artifact."""
    problems = [
        Problem(name, "no such file", "a file in the folder")
        for name in (WEIGHTS_FILE, VOCABULARY_FILE)
        if not (folder / name).is_file() or (folder / name).is_symlink()
    ]
    if problems:
        return problems
    problems = check_float32_tensors(folder / WEIGHTS_FILE, spec.tensors, field=WEIGHTS_FILE)
    try:
        words = read_vocabulary(folder / VOCABULARY_FILE)
    except InvalidDocumentError as error:
        return [*problems, *error.problems]
    if len(words) != spec.vocabulary:
        expected = f"{spec.vocabulary} lines, one for each word of the embeddings"
        problems.append(Problem(VOCABULARY_FILE, f"{len(words)} lines", expected))
    return problems


def read_vocabulary(path: Path, /) -> list[str]:
    """The word pieces, each at its number.

    Raises: InvalidDocumentError where a word stands twice or a special one is missing.
    """
    name = path.name
    if path.stat().st_size > _MOST_VOCABULARY_BYTES:
        raise InvalidDocumentError(str(path), [Problem(name, f"{path.stat().st_size} bytes", "a list of words")])
    try:
        words = path.read_bytes().decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidDocumentError(str(path), [Problem(name, f"byte {error.start}", "text in UTF-8")]) from error
    words = [word.removesuffix("\r") for word in words]
    problems = []
    if len(set(words)) != len(words):
        twice = next(word for word, count in Counter(words).items() if count > 1)
        problems.append(Problem.of(name, twice, "a list in which no word stands twice"))
    problems += [Problem(name, f"no {word}", f"a list with {word}") for word in SPECIAL_TOKENS if word not in words]
    if problems:
        raise InvalidDocumentError(str(path), problems)
    return words


def _read_spec(reading: _Reading) -> EncoderSpec | None:
    config = reading.document("config.json", is_required=True)
    if config is None:
        return None
    for key, allowed in _FIXED.items():
        if config.get(key) not in allowed:
            reading.refuse(f"config.json {key}", config.get(key), repr(allowed[0]))
    tokenizer = reading.document("tokenizer_config.json") or {}
    for key, value in (("tokenize_chinese_chars", True), ("strip_accents", None)):
        if tokenizer.get(key, value) is not value:
            reading.refuse(f"tokenizer_config.json {key}", tokenizer[key], f"{value} or left out")
    lengths = reading.document("sentence_bert_config.json") or {}
    document: dict[str, object] = {field: config.get(key) for key, field in _SIZES.items()}
    document |= {
        "encoder": config.get("model_type"),
        "epsilon": config.get("layer_norm_eps", 1e-12),
        "lowercase": tokenizer.get("do_lower_case", True),
        "mostTokens": lengths.get("max_seq_length", config.get("max_position_embeddings")),
    }
    if reading.problems:
        return None
    try:
        return EncoderSpec.from_document(document, "config.json")
    except InvalidDocumentError as error:
        keys = {field: key for key, field in _SIZES.items()}
        for problem in error.problems:
            name = f"config.json {keys.get(problem.field, problem.field)}"
            reading.problems.append(Problem(name, problem.found, problem.expected))
        return None


def _check_pooling(reading: _Reading) -> None:
    modules = reading.json("modules.json")
    if modules is not None:
        kinds = [
            str(module.get("type")).rpartition(".")[2] if isinstance(module, dict) else module
            for module in (modules if isinstance(modules, list) else [modules])
        ]
        if kinds != _MODULES:
            reading.refuse("modules.json", kinds, f"the modules {', '.join(_MODULES)}")
    pooling = reading.document("1_Pooling/config.json") or {}
    for key, value in pooling.items():
        if key.startswith("pooling_mode_") and value is not (key == "pooling_mode_mean_tokens"):
            reading.refuse(f"1_Pooling/config.json {key}", value, "mean pooling alone")
