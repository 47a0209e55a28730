"""The networks that a safetensors file can be the weights of: declared in `bot.yaml`, built by the runtimes.

A safetensors file holds names and numbers but no network. Instead of running code that came with the file, the author
names one of these architectures with its sizes; each says exactly which tensors the file must hold, so a wrong file is
refused when it is published and not when the first request comes. Nothing here needs a framework: a runtime has one
builder an architecture (`kserve_runtimes/torch/architectures.py`), and equal architectures can share one batch.

A new architecture is one frozen dataclass with `kind`, the members of `Architecture` and `from_document`, one entry
in `ARCHITECTURES`, and one builder in the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol, Self

from botshard.bots.hints import known_names
from botshard.bots.parameters import Parameters
from botshard.sharding.errors import InvalidDocumentError, Problem

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "Architecture",
    "EmbeddingBag",
    "Linear",
    "Mlp",
    "TensorDeclaration",
    "architecture_from_document",
    "read_architecture",
]

ACTIVATIONS = ("relu", "tanh", "gelu")
"""What stands between two layers; `gelu` is the exact one (erf), not the tanh approximation."""
MODES = ("mean", "sum")
"""How the embeddings of one text become one vector."""

_MOST_UNITS = 1 << 24
"""A wider layer than 16 million units is a slip of the keyboard, and would allocate gigabytes before it is noticed."""
_MOST_LAYERS = 64


@dataclass(frozen=True, slots=True)
class TensorDeclaration:
    """One tensor that a safetensors file must hold, of float32."""

    name: str
    shape: tuple[int, ...]


class Architecture(Protocol):
    """A network, all of whose sizes are known."""

    kind: ClassVar[str]
    """Its name in `bot.yaml`."""

    @classmethod
    def from_document(cls, parameters: Parameters) -> Self:
        """Read its parameters; what is wrong stays in `parameters`."""
        ...

    @property
    def input_datatype(self) -> str:
        """Open Inference datatype of the network's one input."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's one input; -1 is free, the first is the batch."""
        ...

    @property
    def output_count(self) -> int:
        """Columns of the network's one output `(batch, columns) float32`."""
        ...

    @property
    def tensors(self) -> tuple[TensorDeclaration, ...]:
        """Exactly the tensors that the file must hold."""
        ...

    def to_document(self) -> dict[str, object]:
        """As it stands in `bot.yaml`, every parameter written out."""
        ...


def _dense(layers: tuple[int, ...]) -> Iterator[TensorDeclaration]:
    for index, (inputs, outputs) in enumerate(pairwise(layers)):
        yield TensorDeclaration(f"layers.{index}.weight", (outputs, inputs))
        yield TensorDeclaration(f"layers.{index}.bias", (outputs,))


@dataclass(frozen=True, slots=True)
class Linear:
    """`y = x W^T + b`: tensors `weight` and `bias`, those of `torch.nn.Linear`."""

    kind: ClassVar[str] = "linear"
    inputs: int
    outputs: int
    bias: bool = True

    @classmethod
    def from_document(cls, parameters: Parameters) -> Self:
        """Read from `{name: linear, inputs: 2048, outputs: 7, bias: true}`."""
        return cls(
            inputs=parameters.count("inputs", most=_MOST_UNITS),
            outputs=parameters.count("outputs", most=_MOST_UNITS),
            bias=parameters.flag("bias", default=True),
        )

    @property
    def input_datatype(self) -> str:
        """Always FP32."""
        return "FP32"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(batch, inputs)`."""
        return (-1, self.inputs)

    @property
    def output_count(self) -> int:
        """Columns of the output."""
        return self.outputs

    @property
    def tensors(self) -> tuple[TensorDeclaration, ...]:
        """`weight` and, unless `bias` is false, `bias`."""
        weight = TensorDeclaration("weight", (self.outputs, self.inputs))
        return (weight, TensorDeclaration("bias", (self.outputs,))) if self.bias else (weight,)

    def to_document(self) -> dict[str, object]:
        """As it stands in `bot.yaml`, every parameter written out."""
        return {"name": self.kind, "inputs": self.inputs, "outputs": self.outputs, "bias": self.bias}


@dataclass(frozen=True, slots=True)
class Mlp:
    """Dense layers with an activation between each two and none after the last.

    The file holds `layers.<i>.weight (out, in)` and `layers.<i>.bias (out,)` for i = 0, 1, …: dense layers are
    counted, whatever stood between them when they were trained.
    """

    kind: ClassVar[str] = "mlp"
    layers: tuple[int, ...]
    activation: str = "relu"

    @classmethod
    def from_document(cls, parameters: Parameters) -> Self:
        """Read from `{name: mlp, layers: [2048, 64, 7], activation: relu}`."""
        return cls(
            layers=parameters.counts("layers", at_least=2, at_most=_MOST_LAYERS, most=_MOST_UNITS),
            activation=parameters.choice("activation", ACTIVATIONS, default="relu"),
        )

    @property
    def input_datatype(self) -> str:
        """Always FP32."""
        return "FP32"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(batch, layers[0])`."""
        return (-1, self.layers[0])

    @property
    def output_count(self) -> int:
        """The last layer's units."""
        return self.layers[-1]

    @property
    def tensors(self) -> tuple[TensorDeclaration, ...]:
        """Weight and bias of each layer."""
        return tuple(_dense(self.layers))

    def to_document(self) -> dict[str, object]:
        """As it stands in `bot.yaml`, every parameter written out."""
        return {"name": self.kind, "layers": list(self.layers), "activation": self.activation}


@dataclass(frozen=True, slots=True)
class EmbeddingBag:
    """Token numbers → mean or sum of their embeddings → the dense layers of an `Mlp`.

    The file holds `embedding.weight (vocabulary, dim)` and the dense layers' tensors, whose first layer takes `dim`.
    """

    kind: ClassVar[str] = "embedding-bag"
    vocabulary: int
    dim: int
    layers: tuple[int, ...]
    """Units of the dense layers after the bag, the last being the output: `[64, 7]`; `dim` is not repeated."""
    mode: str = "mean"
    activation: str = "relu"
    padding: int | None = 0
    """The token number that fills up short texts and counts for nothing; None: every number counts."""

    @classmethod
    def from_document(cls, parameters: Parameters) -> Self:
        """Read from `{name: embedding-bag, vocabulary: 5000, dim: 64, mode: mean, layers: [32, 7]}`."""
        vocabulary = parameters.count("vocabulary", most=_MOST_UNITS)
        return cls(
            vocabulary=vocabulary,
            dim=parameters.count("dim", most=_MOST_UNITS),
            layers=parameters.counts("layers", at_least=1, at_most=_MOST_LAYERS, most=_MOST_UNITS),
            mode=parameters.choice("mode", MODES, default="mean"),
            activation=parameters.choice("activation", ACTIVATIONS, default="relu"),
            padding=parameters.index_or_none("padding", below=vocabulary, default=0),
        )

    @property
    def input_datatype(self) -> str:
        """Always INT64."""
        return "INT64"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(batch, tokens)`."""
        return (-1, -1)

    @property
    def output_count(self) -> int:
        """The last layer's units."""
        return self.layers[-1]

    @property
    def tensors(self) -> tuple[TensorDeclaration, ...]:
        """The embedding table, then weight and bias of each layer."""
        table = TensorDeclaration("embedding.weight", (self.vocabulary, self.dim))
        return (table, *_dense((self.dim, *self.layers)))

    def to_document(self) -> dict[str, object]:
        """As it stands in `bot.yaml`, every parameter written out."""
        return {
            "name": self.kind,
            "vocabulary": self.vocabulary,
            "dim": self.dim,
            "layers": list(self.layers),
            "mode": self.mode,
            "activation": self.activation,
            "padding": self.padding,
        }


ARCHITECTURES: tuple[type[Architecture], ...] = (Linear, Mlp, EmbeddingBag)
"""Every architecture; its `kind` is the name in `bot.yaml`."""


def read_architecture(document: object, /, field: str) -> tuple[Architecture | None, list[Problem]]:
    """The architecture that `document` declares, or None and every problem in it; `field` is its path in the file."""
    kinds = {architecture.kind: architecture for architecture in ARCHITECTURES}
    if not isinstance(document, Mapping):
        example = "an architecture, as in {name: mlp, layers: [2048, 64, 7], activation: relu}"
        return None, [Problem.of(field, document, example)]
    name = document.get("name")
    if not isinstance(name, str) or name not in kinds:
        return None, [Problem.of(f"{field}.name", name, known_names(name, kinds))]
    parameters = Parameters(document, field, ignored=("name",))
    architecture = kinds[name].from_document(parameters)
    problems = parameters.problems()
    return (None if problems else architecture), problems


def architecture_from_document(document: object, /) -> Architecture:
    """The architecture of a spec's model section.

    Raises: InvalidDocumentError with every problem, if it is none.
    """
    architecture, problems = read_architecture(document, "architecture")
    if architecture is None:
        raise InvalidDocumentError("model section", problems)
    return architecture
