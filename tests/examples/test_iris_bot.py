"""The example of scikit-learn, which a reader publishes by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from botshard.bots.bot_file import read_bot_folder
from botshard.oip.tensors import Tensor
from botshard.processing import compile_pipeline
from kserve_runtimes.onnx.framework import OnnxFramework

FOLDER = Path(__file__).parents[2] / "examples" / "iris-bot"


def test_it_answers_as_its_readme_says() -> None:
    """The folder is accepted, and its model gives the answers of `examples/README.md`."""
    bot = read_bot_folder(FOLDER)
    pipeline = compile_pipeline(bot.spec, FOLDER)
    model = OnnxFramework(threads=1).load(bot.spec, FOLDER, pipeline.model_inputs)
    flowers = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.7, 4.1, 1.3], [7.2, 3.2, 6.0, 1.8]]
    asked = {"measures": Tensor.of("measures", np.array(flowers, dtype=np.float32))}
    answer = pipeline.after(model.predict(pipeline.before(asked)), asked)
    assert answer["species"].data == [b"setosa", b"versicolor", b"virginica"]
    assert np.all(answer["score"].numpy() > 0.75)
    assert np.allclose(answer["probabilities"].numpy().sum(axis=1), 1, atol=1e-5)


def test_only_its_model_is_published() -> None:
    """The script that made it stays where it is."""
    assert read_bot_folder(FOLDER).files == (Path("model.onnx"),)
