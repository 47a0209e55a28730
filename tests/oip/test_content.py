"""Compressed bodies are inflated to a bound."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip.content import decompress
from botshard.oip.errors import BodyTooLargeError, InvalidInputError
from tests.oip.strategies import FUZZ

_TEXT = b'{"inputs": []}' * 50


def _raw(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(_TEXT, None, id="none"),
        pytest.param(_TEXT, "identity", id="identity"),
        pytest.param(gzip.compress(_TEXT), "gzip", id="gzip"),
        pytest.param(gzip.compress(_TEXT), " GZIP ", id="upper case"),
        pytest.param(gzip.compress(_TEXT[:99]) + gzip.compress(_TEXT[99:]), "x-gzip", id="two members"),
        pytest.param(zlib.compress(_TEXT), "deflate", id="deflate"),
        pytest.param(_raw(_TEXT), "deflate", id="raw deflate"),
    ],
)
def test_a_compressed_body_comes_out_whole(body: bytes, encoding: str | None) -> None:
    """Every encoding gives the body back, exactly at the bound too."""
    assert bytes(decompress(memoryview(body), encoding, len(_TEXT))) == _TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_inflates_beyond_the_bound_is_refused(encoding: str) -> None:
    """A bomb is refused after `limit_bytes`, not after memory is gone."""
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    with pytest.raises(BodyTooLargeError, match="more than 1000 bytes") as refused:
        decompress(compress(b"\0" * 50_000_000), encoding, 1000)
    assert refused.value.limit_bytes == 1000


def test_many_small_members_count_together() -> None:
    """The bound is on the sum of a gzip body's members."""
    with pytest.raises(BodyTooLargeError):
        decompress(gzip.compress(b"x" * 600) * 2, "gzip", 1000)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        pytest.param(_TEXT, "gzip", "not gzip", id="plain as gzip"),
        pytest.param(b"", "gzip", "ends too early", id="nothing"),
        pytest.param(gzip.compress(_TEXT)[:-9], "gzip", "ends too early", id="cut"),
        pytest.param(gzip.compress(_TEXT) + b"junk", "gzip", "not gzip", id="junk behind"),
        pytest.param(zlib.compress(_TEXT) + b"junk", "deflate", "4 bytes follow", id="junk behind deflate"),
        pytest.param(_TEXT, "br", "must be gzip, deflate or identity, found 'br'", id="other encoding"),
    ],
)
def test_a_body_that_does_not_inflate_is_refused(body: bytes, encoding: str, message: str) -> None:
    """Broken streams and unknown encodings are the client's mistake."""
    with pytest.raises(InvalidInputError, match=message):
        decompress(body, encoding, 10_000)


@FUZZ
@given(body=st.binary(max_size=40), encoding=st.sampled_from(["gzip", "deflate"]))
def test_arbitrary_bytes_never_raise_anything_else(body: bytes, encoding: str) -> None:
    """Bytes without meaning inflate or are refused."""
    with contextlib.suppress(InvalidInputError):
        assert len(decompress(body, encoding, 100)) <= 100
