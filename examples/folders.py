"""A trained bot as a folder that its author could have written by hand: `bot.yaml` beside the model."""

from __future__ import annotations

from typing import Any, Final

import yaml

from botshard.bots.spec_document import spec_from_document
from botshard.sharding.catalog import BotSpec
from examples.bots import HAND_OVER, HAND_OVER_PATTERN, OUT_OF_SCOPE, BotPlan
from examples.hyperparameters import Hyperparameters

__all__ = ["bot_yaml", "spec_of"]

_MODEL_FILES: Final = {
    "safetensors": "model.safetensors",
    "torch-export": "model.pt2",
    "keras": "model.keras",
    "savedmodel": "model",
}
_RATES_PER_S: Final = {"realtime": 5, "non-realtime": 0.2}


def bot_yaml(plan: BotPlan, settings: Hyperparameters) -> str:
    """The text of `bot.yaml`."""
    about = f"# {plan.tenant}: what people write about {' and '.join(plan.domains).replace('_', ' ')}.\n"
    return about + yaml.safe_dump(_document(plan, settings), sort_keys=False, default_flow_style=None, width=120)


def spec_of(plan: BotPlan, settings: Hyperparameters) -> BotSpec:
    """The same as the product understands it."""
    return spec_from_document(_document(plan, settings), plan.id)


def _document(plan: BotPlan, settings: Hyperparameters) -> dict[str, Any]:
    classes = len(plan.labels)
    return {
        "id": plan.id,
        "tenant": plan.tenant,
        "poolGroup": plan.group,
        "framework": plan.framework,
        **({"backbone": plan.backbone} if plan.backbone else {}),
        "model": _model(plan, settings),
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        ],
        **({} if plan.backbone else {"preprocess": _features(settings)}),
        "postprocess": [
            {"step": "softmax"},
            {"step": "label", "labels": list(plan.labels)},
            {"step": "threshold", "min": settings.threshold, "fallback": OUT_OF_SCOPE},
            *([{"step": "regex-rule", "pattern": HAND_OVER_PATTERN, "label": HAND_OVER}] if plan.hands_over else []),
        ],
        "resources": {"ratePerSecond": _RATES_PER_S[plan.group]},
    }


def _features(settings: Hyperparameters) -> list[dict[str, Any]]:
    words, chars = list(settings.words), list(settings.chars)
    ngrams = {"step": "hash-ngrams", "features": settings.features, "words": words, "chars": chars}
    return [{"step": "normalize"}, ngrams]


def _model(plan: BotPlan, settings: Hyperparameters) -> dict[str, Any]:
    model: dict[str, Any] = {"format": plan.format, "file": _MODEL_FILES[plan.format]}
    if plan.format == "safetensors":
        layers = [settings.features, settings.hidden, len(plan.labels)]
        model["architecture"] = {"name": "mlp", "layers": layers, "activation": "relu"}
    return model
