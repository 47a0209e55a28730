"""Bytes that were right: cut, spliced and overwritten at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["mutilated"]


def mutilated(
    data: bytes,
    chance: random.Random,
    *,
    pieces: Sequence[bytes],
    others: Sequence[bytes],
    most_bytes: int,
    times: Sequence[int],
) -> bytes:
    """The same, changed in some places.

    Args:
        data: what was right.
        chance: draws.
        pieces: small things to put in anywhere.
        others: of which a beginning is put in anywhere, or the whole at the end.
        most_bytes: of such a beginning.
        times: how many places, one of these.
    """
    changed = bytearray(data)
    for _ in range(chance.choice(times)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + chance.randrange(8)]
            case 2:
                changed[at:at] = chance.choice(pieces)
            case 3:
                changed[at:at] = chance.choice(others)[: chance.randrange(most_bytes)]
            case _:
                changed += chance.choice(others)
    return bytes(changed)
