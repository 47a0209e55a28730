"""A catalog object as lines, one a bot: what a change has left alone need not be read again.

An object of a large catalog holds thousands of bots, and most writes of it change one. Whoever has accepted an object
remembers eight bytes a line, and of the next one reads only the lines that are new. That is sound because it is never
more than a short cut: whatever does not fit to the byte is read whole, by `codec.decode_catalog`, and judged there.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from botshard.sharding.catalog import Bot
from botshard.sharding.codec import decode_catalog
from botshard.sharding.errors import InvalidDocumentError

__all__ = ["CatalogLines", "LineChanges", "read_changed_lines"]

_FIRST_END = b'"bots":{'
_LAST = b"}}"


@dataclass(frozen=True, slots=True)
class CatalogLines:
    """The lines of an object that was accepted, as their hashes (of this process)."""

    hashes: array[int]

    @classmethod
    def of(cls, data: bytes, /, *, bots: int) -> CatalogLines | None:
        """The lines of an object in which that many bots were read; None where it is not written one a line."""
        split = _split(data)
        if split is None or len(split[1]) != bots:
            return None
        hashes = _hashes(split[1])
        return cls(hashes) if len(set(hashes)) == bots else None


@dataclass(frozen=True, slots=True)
class LineChanges:
    """What is new in an object against the one that was accepted before."""

    revision: int
    bots: Sequence[Bot]
    """Those of the new lines."""
    gone: int
    """How many lines are no longer there; where each new line replaced one, as many as `bots`."""
    lines: CatalogLines


def read_changed_lines(before: CatalogLines, data: bytes, /) -> LineChanges | None:
    """Read the lines that are not among those of `before`; None: the object is to be read whole."""
    split = _split(data)
    if split is None:
        return None
    first, lines = split
    known = set(before.hashes)
    hashes = _hashes(lines)
    new = [line for line, hash_of_line in zip(lines, hashes, strict=True) if hash_of_line not in known]
    try:
        # The new lines in the frame of this object: format and revision are judged with them.
        revision, bots = decode_catalog(b"\n".join((first, b",\n".join(new), _LAST)))
    except InvalidDocumentError:
        return None
    if len(bots) != len(new) or len(set(hashes)) != len(hashes):
        return None
    return LineChanges(revision, bots, len(known) - (len(lines) - len(new)), CatalogLines(hashes))


def _hashes(lines: list[bytes]) -> array[int]:
    return array("q", list(map(hash, lines)))  # from a list, since from an iterator it is made with room to grow


def _split(data: bytes) -> tuple[bytes, list[bytes]] | None:
    """First line and the lines of bots, without the commas between them; None where it is not written so."""
    lines = data.split(b"\n")
    if len(lines) < 3 or not lines[0].endswith(_FIRST_END) or lines[-1] != _LAST:
        return None
    first, *bots, _ = lines
    if bots == [b""]:
        return first, []
    if not all(line.endswith(b"},") for line in bots[:-1]) or not bots[-1].endswith(b"}"):
        return None
    return first, [*(line[:-1] for line in bots[:-1]), bots[-1]]
