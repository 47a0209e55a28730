"""What a sentence encoder is: the sizes of a BERT, what its tokenizer does, and which tensors its weights must hold.

Like the declared architectures of bots (`architectures.py`) this is numbers alone: nothing that comes with weights is
executed, and neither publishing nor checking needs a framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from botshard.sharding.reading import Reader

__all__ = ["VOCABULARY_FILE", "WEIGHTS_FILE", "EncoderSpec"]

WEIGHTS_FILE: Final = "model.safetensors"
VOCABULARY_FILE: Final = "vocab.txt"

_KIND: Final = "bert"
_MOST: Final = 1 << 24
_SIZES: Final = {
    "width": "width",
    "layers": "layers",
    "heads": "heads",
    "inner": "inner",
    "vocabulary": "vocabulary",
    "positions": "positions",
    "types": "types",
    "mostTokens": "most_tokens",
}
"""Fields of the document, and what they are here."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """A BERT that turns a text into one vector: word pieces, layers of attention, the mean of all tokens, length 1."""

    width: int
    """Numbers of a text's encoding."""
    layers: int
    heads: int
    inner: int
    """Units between the two products of a layer."""
    vocabulary: int
    positions: int
    types: int
    most_tokens: int
    """Longer texts are cut, as they were when the encoder was trained."""
    epsilon: float
    """Of the layer norms."""
    lowercase: bool
    """Whether case and accents are taken off before the words are looked up."""

    @property
    def tensors(self) -> Mapping[str, tuple[int, ...]]:
        """The tensors that the weights must hold, of float32; others are left alone."""
        width, inner = self.width, self.inner
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, width),
            "embeddings.position_embeddings.weight": (self.positions, width),
            "embeddings.token_type_embeddings.weight": (self.types, width),
            **_norm("embeddings.LayerNorm", width),
        }
        for index in range(self.layers):
            layer = f"encoder.layer.{index}"
            for name in ("query", "key", "value"):
                shapes |= _dense(f"{layer}.attention.self.{name}", width, width)
            shapes |= _dense(f"{layer}.attention.output.dense", width, width)
            shapes |= _norm(f"{layer}.attention.output.LayerNorm", width)
            shapes |= _dense(f"{layer}.intermediate.dense", width, inner)
            shapes |= _dense(f"{layer}.output.dense", inner, width)
            shapes |= _norm(f"{layer}.output.LayerNorm", width)
        return shapes

    def to_document(self) -> dict[str, object]:
        """As a manifest holds it."""
        sizes = {key: getattr(self, name) for key, name in _SIZES.items()}
        return {"encoder": _KIND, **sizes, "epsilon": self.epsilon, "lowercase": self.lowercase}

    @classmethod
    def from_document(cls, document: Mapping[str, object], name: str, /) -> EncoderSpec:
        """The spec in a manifest; `name` names that in errors.

        Raises: InvalidDocumentError with every problem.
        """
        reader = Reader.of(dict(document), name)
        reader.only("encoder", *_SIZES, "epsilon", "lowercase")
        if document.get("encoder") != _KIND:
            reader.refuse("encoder", document.get("encoder"), repr(_KIND))
        sizes = {field: reader.integer(key, at_least=1, at_most=_MOST) for key, field in _SIZES.items()}
        spec = cls(**sizes, epsilon=reader.number("epsilon"), lowercase=reader.boolean("lowercase"))
        if spec.width % spec.heads:
            reader.refuse("heads", spec.heads, f"a divisor of width, {spec.width}")
        if not 2 < spec.most_tokens <= spec.positions:
            reader.refuse("mostTokens", spec.most_tokens, f"from 3 to positions, {spec.positions}")
        reader.finish(name)
        return spec


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
