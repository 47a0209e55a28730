"""The smallest bot, which a reader publishes by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from botshard.bots.bot_file import read_bot_folder
from botshard.oip.tensors import Tensor
from botshard.processing import compile_pipeline

FOLDER = Path(__file__).parents[2] / "examples" / "hello-bot"


def test_it_answers_as_its_readme_says() -> None:
    """The folder is accepted, and its model gives the answers of `examples/README.md`."""
    bot = read_bot_folder(FOLDER)
    pipeline = compile_pipeline(bot.spec, FOLDER)
    asked = {"text": Tensor.of("text", ["good morning", "thanks a lot", "what is the price of bread"])}
    (features,) = pipeline.before(asked).values()
    layers = load_file(FOLDER / "model.safetensors")
    hidden = np.maximum(features @ layers["layers.0.weight"].T + layers["layers.0.bias"], 0)
    logits = hidden @ layers["layers.1.weight"].T + layers["layers.1.bias"]
    assert pipeline.after({"logits": logits}, asked)["label"].data == [b"greeting", b"thanks", b"unsure"]


def test_only_its_model_is_published() -> None:
    """The script that made the numbers stays where it is."""
    assert read_bot_folder(FOLDER).files == (Path("model.safetensors"),)
