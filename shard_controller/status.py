"""What the controller says of itself, in the store: what it waits for, which bots it cannot place, what it refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from botshard.sharding.placement import Refusal
from botshard.store.base import ObjectStore
from botshard.store.layout import CONTROLLER_STATUS

__all__ = ["StatusWriter"]

_MOST_REFUSALS = 1000
"""Enough to act on; a catalog that is refused as a whole must not become one huge object."""


@dataclass(slots=True)
class StatusWriter:
    """Writes the status where it differs from what was written last."""

    store: ObjectStore
    _written: bytes = b""

    def write(
        self, *, epoch: int, waiting: tuple[str, ...], refused: tuple[Refusal, ...], problems: Mapping[str, str]
    ) -> bool:
        """True where something was written. Raises: StoreError."""
        document = {
            "epoch": epoch,
            "waiting": list(waiting),
            "refused": {refusal.bot: refusal.reason for refusal in refused[:_MOST_REFUSALS]},
            "refusedCount": len(refused),
            "problems": dict(problems),
        }
        data = json.dumps(document, ensure_ascii=False).encode()
        if data == self._written:
            return False
        self.store.put(CONTROLLER_STATUS, data)
        self._written = data
        return True
