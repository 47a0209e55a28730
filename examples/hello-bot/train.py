"""How `model.safetensors` was made: no framework, one page, the same file each time.

Where the package is installed, `python examples/hello-bot/train.py` runs it.

The features are those of the bot's own steps, taken from `bot.yaml`: a model only works with the steps it learned with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import yaml
from safetensors.numpy import save_file

from botshard.bots.spec_document import spec_from_document
from botshard.oip.tensors import Tensor
from botshard.processing import compile_pipeline

FOLDER: Final = Path(__file__).parent
PHRASES: Final = {
    "greeting": ("hello", "hi there", "good morning", "good evening everyone", "hey, how are you", "hello my friend",
                 "hi, nice to meet you", "good afternoon", "hey there", "greetings", "how do you do", "hello again"),
    "thanks": ("thank you", "thanks a lot", "many thanks for your help", "thank you so much", "that was very kind",
               "thanks, that helped", "i am grateful", "cheers, thanks", "that helped me a lot", "great, thank you",
               "i appreciate it", "much appreciated"),
    "goodbye": ("goodbye", "bye", "see you tomorrow", "see you later", "bye bye", "good night", "have a nice day",
                "talk to you soon", "farewell", "i have to go now", "until next time", "take care, bye"),
}  # fmt: skip
HIDDEN: Final = 16
STEPS: Final = 300
STEP_SIZE: Final = 1.0


def main() -> None:
    """Gradient descent on the cross entropy of all phrases."""
    spec = spec_from_document(yaml.safe_load((FOLDER / "bot.yaml").read_text(encoding="utf-8")))
    texts = [text for phrases in PHRASES.values() for text in phrases]
    (x,) = compile_pipeline(spec, FOLDER).before({"text": Tensor.of("text", texts)}).values()
    wanted = np.eye(len(PHRASES))[[index for index, phrases in enumerate(PHRASES.values()) for _ in phrases]]

    rng = np.random.default_rng(1)
    first, first_bias = rng.normal(0, 0.1, (x.shape[1], HIDDEN)), np.zeros(HIDDEN)
    second, second_bias = rng.normal(0, 0.5, (HIDDEN, len(PHRASES))), np.zeros(len(PHRASES))
    for _ in range(STEPS):
        hidden = np.maximum(x @ first + first_bias, 0)
        powers = np.exp(hidden @ second + second_bias)
        error = (powers / powers.sum(axis=1, keepdims=True) - wanted) / len(texts)
        back = (error @ second.T) * (hidden > 0)
        second -= STEP_SIZE * hidden.T @ error
        second_bias -= STEP_SIZE * error.sum(axis=0)
        first -= STEP_SIZE * x.T @ back
        first_bias -= STEP_SIZE * back.sum(axis=0)

    layers = {"layers.0": (first, first_bias), "layers.1": (second, second_bias)}
    tensors = {f"{name}.weight": weight.T for name, (weight, _) in layers.items()}
    tensors |= {f"{name}.bias": bias for name, (_, bias) in layers.items()}
    numbers = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    save_file(numbers, FOLDER / "model.safetensors")


if __name__ == "__main__":
    main()
