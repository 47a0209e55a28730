"""How the checks of one model file say no: by an exception within `botshard.bots`, a `Problem` for everybody else."""

from __future__ import annotations

from botshard.sharding.errors import Problem

__all__ = ["MODEL_FILE", "RefusedFileError"]

MODEL_FILE = "model.file"
"""The field that every problem of a model's files belongs to."""


class RefusedFileError(Exception):
    """Ends the check of a file that cannot be trusted any further; caught by the check of its format."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"{found}; must be {expected}")
        self.problem = Problem(MODEL_FILE, found, expected)
