"""What routing needs of a `ModelInferRequest`, without decoding it: the first three of its fields. Pure.

The walk goes over the fields of the message itself and steps over tensors by their length: it costs the number of
tensors, not their size. What the generated classes refuse about the frame of a message is refused here too, and groups
besides, which the protocol has none of. What is inside of tensors is the pool's to judge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from router.errors import BadRequestError

__all__ = ["Names", "read_names"]

_VARINT: Final = 0
_EIGHT_BYTES: Final = 1
_DELIMITED: Final = 2
_FOUR_BYTES: Final = 5
_MODEL: Final = 1
_VERSION: Final = 2
_ID: Final = 3
_MAX_TAG: Final = (1 << 32) - 1
_MAX_VARINT_BYTES: Final = 10
_MAX_TAG_BYTES: Final = 5


class Names(NamedTuple):
    """Who is asked."""

    model: str
    version: str
    """Empty: whichever is served."""
    id: str
    """The client's own id of the request; empty: it gave none."""


def read_names(message: bytes, /) -> Names:
    """The names in a `ModelInferRequest`: of a field that comes twice the last, as protobuf has it.

    Raises: BadRequestError for what is no such message.
    """
    found = [b"", b"", b""]
    size, at = len(message), 0
    try:
        while at < size:
            tag = message[at]
            if tag < 0x80:
                at += 1
            else:
                tag, at = _varint(message, at, _MAX_TAG_BYTES)
                if tag > _MAX_TAG:
                    raise _malformed("a field's number is too large")
            number, kind = tag >> 3, tag & 7
            if not number:
                raise _malformed("a field has the number 0")
            if kind == _DELIMITED:
                length = message[at]
                if length < 0x80:
                    at += 1
                else:
                    length, at = _varint(message, at, _MAX_VARINT_BYTES)
                end = at + length
                if end > size:
                    raise _malformed("it ends in the middle of a field")
                if number <= _ID:
                    found[number - 1] = message[at:end]
                at = end
            elif kind == _VARINT:
                _, at = _varint(message, at, _MAX_VARINT_BYTES)
            elif kind == _EIGHT_BYTES:
                at += 8
            elif kind == _FOUR_BYTES:
                at += 4
            else:
                raise _malformed(f"a field is of the kind {kind}")
        if at > size:
            raise _malformed("it ends in the middle of a field")
        return Names(*[value.decode() for value in found])
    except IndexError:
        raise _malformed("it ends in the middle of a field") from None
    except UnicodeDecodeError:
        raise _malformed("a name in it is not UTF-8") from None


def _varint(message: bytes, at: int, most_bytes: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    for _ in range(most_bytes):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
        shift += 7
    raise _malformed("a number is too long")


def _malformed(why: str) -> BadRequestError:
    return BadRequestError(f"the message is not a ModelInferRequest: {why}")
