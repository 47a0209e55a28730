"""What routing needs of a `ModelInferRequest`, without decoding it: the first three of its fields. Pure.

The walk goes over the fields of the message itself and steps over tensors by their length: it costs the number of
tensors, not their size. What the generated classes refuse about the frame of a message is refused here too, and groups
besides, which the protocol has none of. What is inside of tensors is the pool's to judge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from router.errors import BadRequestError

__all__ = ["Names", "read_names"]

_DELIMITED: Final = 2
_ID: Final = 3
"""The last of the fields that are read: model_name, model_version, id."""
_MORE: Final = 0x80
"""In a byte of a number: another one follows."""
_MIN_TAG: Final = 1 << 3
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
            number, kind, at = _tag(message, at)
            if kind != _DELIMITED:
                at = _past(message, at, kind)
                continue
            length = message[at]
            if length < _MORE:
                at += 1
            else:
                length, at = _varint(message, at, _MAX_VARINT_BYTES)
            end = at + length
            if end > size:
                raise _cut_off()
            if number <= _ID:
                found[number - 1] = message[at:end]
            at = end
        if at == size:
            return Names(*[value.decode() for value in found])
    except IndexError:
        raise _cut_off() from None
    except UnicodeDecodeError:
        raise _malformed("a name in it is not UTF-8") from None
    raise _cut_off()


def _tag(message: bytes, at: int) -> tuple[int, int, int]:
    """A field's number and kind, and where it goes on."""
    tag = message[at]
    if tag < _MORE:
        at += 1
    else:
        tag, at = _varint(message, at, _MAX_TAG_BYTES)
    if not _MIN_TAG <= tag <= _MAX_TAG:
        raise _malformed("a field has a number that there is not")
    return tag >> 3, tag & 7, at


def _past(message: bytes, at: int, kind: int) -> int:
    """Where a field ends that is no text, message or bytes."""
    match kind:
        case 0:
            # Its value is nobody's business here; bits past the 64th are dropped by those whose business it is.
            for end in range(at, at + _MAX_VARINT_BYTES):
                if message[end] < _MORE:
                    return end + 1
            raise _malformed("a number is too long")
        case 1:
            return at + 8
        case 5:
            return at + 4
    raise _malformed(f"a field is of the kind {kind}")


def _varint(message: bytes, at: int, most_bytes: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    for _ in range(most_bytes):
        byte = message[at]
        at += 1
        value |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            if value >= 1 << 64:
                break
            return value, at
        shift += 7
    raise _malformed("a number is too long")


def _cut_off() -> BadRequestError:
    return _malformed("it ends in the middle of a field")


def _malformed(why: str) -> BadRequestError:
    return BadRequestError(f"the message is not a ModelInferRequest: {why}")
