"""Durations that callers send survive every hop, and only ever become shorter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.oip import deadlines

_LEFT_S = st.floats(min_value=1e-9, max_value=3.5e11, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(b"2.5", 2.5, id="decimal"),
        pytest.param(b"10", 10.0, id="whole"),
        pytest.param(b"0.000001", 1e-6, id="tiny"),
        pytest.param(b"0", None, id="nothing left"),
        pytest.param(b"-1", None, id="less than nothing"),
        pytest.param(b"inf", None, id="for ever"),
        pytest.param(b"nan", None, id="no number"),
        pytest.param(b"soon", None, id="a word"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"1s", None, id="with a unit"),
        pytest.param(b"\xff", None, id="not text"),
    ],
)
def test_a_timeout_is_a_positive_number_of_seconds(value: bytes, seconds: float | None) -> None:
    """Everything else is refused."""
    assert deadlines.read_timeout(value) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(b"1H", 3600.0, id="hour"),
        pytest.param(b"2M", 120.0, id="minutes"),
        pytest.param(b"30S", 30.0, id="seconds"),
        pytest.param(b"250m", 0.25, id="milliseconds"),
        pytest.param(b"99999999u", 99.999999, id="microseconds"),
        pytest.param(b"1n", 1e-9, id="nanosecond"),
        pytest.param(b"0n", 0.0, id="time is up"),
        pytest.param(b"00000007S", 7.0, id="leading zeros"),
        pytest.param(b"123456789n", None, id="nine digits"),
        pytest.param(b"5", None, id="no unit"),
        pytest.param(b"S", None, id="no digits"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"5s", None, id="unit in lower case"),
        pytest.param(b"5h", None, id="another unit in lower case"),
        pytest.param(b"1.5S", None, id="decimal"),
        pytest.param(b"-1S", None, id="negative"),
        pytest.param(b"+1S", None, id="sign"),
        pytest.param(b"1 S", None, id="space"),
        pytest.param("٣S".encode(), None, id="other digits"),
    ],
)
def test_a_grpc_timeout_is_digits_and_a_unit(value: bytes, seconds: float | None) -> None:
    """As the gRPC protocol over HTTP/2 writes it, and nothing else."""
    found = deadlines.read_grpc_timeout(value)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        pytest.param(2.5, b"2500000u", id="seconds"),
        pytest.param(0.3, b"300000u", id="what binary has not"),
        pytest.param(0.05, b"50000000n", id="milliseconds"),
        pytest.param(3600.0, b"3600000m", id="hour"),
        pytest.param(100_000.0, b"100000S", id="day"),
        pytest.param(1e-12, b"1n", id="next to nothing"),
        pytest.param(0.0, b"1n", id="nothing"),
        pytest.param(-3.0, b"1n", id="overdue"),
        pytest.param(math.inf, b"99999999H", id="for ever"),
    ],
)
def test_a_grpc_timeout_is_written_in_the_finest_unit_that_has_room(seconds: float, value: bytes) -> None:
    """Eight digits are all there are."""
    assert deadlines.format_grpc_timeout(seconds) == value


@given(_LEFT_S)
def test_a_grpc_timeout_survives_its_writing(left_s: float) -> None:
    """What is read is what was written: hardly less for its eight digits, and no longer but for floats' own error."""
    text = deadlines.format_grpc_timeout(left_s)
    found = deadlines.read_grpc_timeout(text)
    assert found is not None
    assert len(text) <= 9
    assert found <= max(left_s, 1e-9) * (1 + 1e-8)
    assert found == pytest.approx(left_s, rel=2e-5, abs=1e-9)


@given(_LEFT_S, st.sampled_from([deadlines.DIRECT_HOP_S, deadlines.GATEWAY_HOP_S]))
def test_every_hop_cuts_a_little(left_s: float, hop_s: float) -> None:
    """The next hop has less time, never by more than the hop takes or a twentieth of what is left."""
    found = deadlines.for_next_hop(left_s, hop_s)
    assert 0 < found <= left_s
    assert left_s - found <= min(hop_s, left_s / 20) * 1.001 + left_s * 1e-12
