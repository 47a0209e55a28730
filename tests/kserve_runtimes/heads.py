"""The network of a head's folder as a model, on a device."""

from __future__ import annotations

from pathlib import Path

from botshard.bots.bot_file import read_bot_folder
from botshard.sharding.catalog import TensorSpec
from kserve_runtimes.core.model import Model
from kserve_runtimes.declared.models import DeclaredModels
from kserve_runtimes.torch.device import Device
from kserve_runtimes.torch.device_models import DeviceModels

__all__ = ["network"]

_ENCODING = (TensorSpec("encoding", "FP32", (-1, -1)),)


def network(folder: Path, device: str) -> Model:
    """By numpy for `cpu`, by PyTorch for `torch` and `cuda`."""
    spec = read_bot_folder(folder).spec
    loader = DeclaredModels() if device == "cpu" else DeviceModels(Device("cpu" if device == "torch" else device))
    return loader.load(spec, folder, _ENCODING)
