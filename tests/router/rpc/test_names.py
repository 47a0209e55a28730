"""The names in a message are read without decoding it, and are those that the generated classes read."""

from __future__ import annotations

from typing import Final

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.grpc_schema import message_class
from router.errors import BadRequestError
from router.rpc.names import Names, read_names

Request: Final = message_class("ModelInferRequest")
TEXTS: Final = st.text(max_size=300)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _long(number: int) -> bytes:
    """The same number in more bytes than it takes."""
    data = bytearray(_varint(number))
    data[-1] |= 0x80
    return bytes([*data, 0])


NUMBERS: Final = st.one_of(st.integers(0, 12), st.integers(0, (1 << 29) + 3))


@st.composite
def _field(draw: st.DrawFn) -> bytes:
    """A field that may be one of the message's, of another kind, unknown, or broken."""
    number, kind = draw(NUMBERS), draw(st.sampled_from((0, 1, 2, 2, 2, 2, 5)))
    write = draw(st.sampled_from((_varint, _varint, _varint, _long)))
    tag = write(number << 3 | kind)
    match kind:
        case 0:
            return tag + write(draw(st.integers(0, (1 << 70) - 1)))
        case 1:
            return tag + draw(st.binary(min_size=8, max_size=8))
        case 5:
            return tag + draw(st.binary(min_size=4, max_size=4))
        case _:
            data = draw(st.one_of(st.binary(max_size=200), TEXTS.map(str.encode)))
            return tag + write(len(data)) + data


def _expected(message: bytes) -> Names | None:
    try:
        request = Request.FromString(message)
    except DecodeError:
        return None
    return Names(request.model_name, request.model_version, request.id)


def _found(message: bytes) -> Names | None:
    try:
        return read_names(message)
    except BadRequestError:
        return None


@given(TEXTS, TEXTS, TEXTS, st.lists(st.binary(max_size=300), max_size=5))
def test_names_of_whole_messages_are_those_that_were_put_in(
    model: str, version: str, request_id: str, tensors: list[bytes]
) -> None:
    """Whatever the texts and the tensors."""
    request = Request(model_name=model, model_version=version, id=request_id, raw_input_contents=tensors)
    for index in range(len(tensors)):
        request.inputs.add(name=f"x{index}", datatype="FP32", shape=[1, index])
    request.parameters["p"].int64_param = 7
    assert read_names(request.SerializeToString()) == (model, version, request_id)


@given(st.lists(_field(), max_size=8), st.integers(0, 6), st.binary(max_size=3))
def test_of_any_bytes_what_both_accept_they_read_alike(fields: list[bytes], cut: int, tail: bytes) -> None:
    """Fields repeated, unknown, of other kinds, cut off: never other names than those that the pool will read."""
    message = b"".join(fields) + tail
    message = message[: len(message) - cut]
    expected, found = _expected(message), _found(message)
    if expected is not None and found is not None:
        assert found == expected
    if expected is not None and found is None:
        assert _has_group(message)


def _has_group(message: bytes) -> bool:
    """Only then may it be refused that the generated classes take: groups are unknown to the protocol."""
    try:
        read_names(message)
    except BadRequestError as error:
        return "of the kind 3" in str(error)
    return False


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x0a", id="no length"),
        pytest.param(b"\x0a\x05abc", id="too short"),
        pytest.param(b"\x0a\x02\xff\xfe", id="not UTF-8"),
        pytest.param(b"\x02\x01a", id="number 0"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x0f", id="kind 7"),
        pytest.param(b"\x08" + b"\xff" * 11, id="an endless number"),
        pytest.param(b"\x0a" + b"\xff" * 9 + b"\x01", id="a length past all memory"),
        pytest.param(b"\x25\x00", id="four bytes that are one"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    """With a reason, and without an error of Python's own."""
    with pytest.raises(BadRequestError, match="not a ModelInferRequest"):
        read_names(message)


def test_a_long_message_is_not_looked_at() -> None:
    """Sixteen megabytes of a tensor are stepped over."""
    request = Request(model_name="bot", raw_input_contents=[bytes(16 << 20)])
    assert read_names(request.SerializeToString()) == ("bot", "", "")
