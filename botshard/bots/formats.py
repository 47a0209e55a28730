"""What the shapes of `bot.yaml` and of manifests are bounded by; read by replicas too, so it imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "FORMATS",
    "FRAMEWORK_FORMATS",
    "MOST_DIMENSIONS",
    "MOST_FILE_CHARS",
    "MOST_MEMORY_BYTES",
    "MOST_RATE_PER_S",
    "MOST_STEPS",
    "MOST_TENSORS",
    "SUFFIXES",
    "TENSOR_NAME",
    "is_path",
    "is_shape",
]

FRAMEWORK_FORMATS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "torch": ("safetensors", "torch-export"),
        "tensorflow": ("keras", "savedmodel"),
        "onnx": ("onnx",),
        "kserve": ("kserve",),
    }
)
"""Which model formats each framework loads."""
FORMATS: Final = tuple(name for names in FRAMEWORK_FORMATS.values() for name in names)
SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {"safetensors": ".safetensors", "torch-export": ".pt2", "keras": ".keras", "onnx": ".onnx"}
)
"""How the file of a format ends."""

TENSOR_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$"
MOST_DIMENSIONS: Final = 8
MOST_STEPS: Final = 50
MOST_TENSORS: Final = 64
MOST_FILE_CHARS: Final = 255
MOST_MEMORY_BYTES: Final = 1 << 50
MOST_RATE_PER_S: Final = 1e9


def is_shape(sizes: list[int], /) -> bool:
    """Whether whole numbers are a shape: -1 (the batch), then sizes, -1 where free."""
    return sizes[0] == -1 and all(size == -1 or size >= 1 for size in sizes)


def is_path(text: str, /) -> bool:
    """Whether a text is a path inside a bot's folder."""
    parts = text.split("/")
    return not any(not part or part.startswith(".") or not part.isprintable() or "\\" in part for part in parts)
