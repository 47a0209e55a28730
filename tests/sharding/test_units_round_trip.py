"""Bytes and durations as people write them, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botshard.sharding.units import format_bytes, format_duration_s, parse_bytes, parse_duration_s
from tests.sharding.building import THOROUGH

BYTES: dict[str | int, int] = {
    0: 0,
    17: 17,
    "0": 0,
    "1048576": 1048576,
    "1k": 1000,
    "2M": 2_000_000,
    "3G": 3 * 10**9,
    "1T": 10**12,
    "1Ki": 1024,
    "512Mi": 512 << 20,
    "2Gi": 2 << 30,
    "1Ti": 1 << 40,
    "1.5Gi": 3 << 29,
    " 4Ki ": 4096,
    "0.1k": 100,
    "1.1M": 1_100_000,
    "9007199254740993": 9007199254740993,
}
DURATIONS: dict[str | float, float] = {
    0: 0.0,
    2.5: 2.5,
    "500ms": 0.5,
    "30s": 30.0,
    "5m": 300.0,
    "2h": 7200.0,
    "1.5": 1.5,
}
SHOWN_BYTES = {
    0: "0 B",
    417: "417 B",
    1023: "1023 B",
    1024: "1.0 KiB",
    12_595: "12.3 KiB",
    4 << 20: "4.0 MiB",
    -5: "-5 B",
    (1 << 20) - 1: "1.0 MiB",
    (1 << 30) - 1: "1.0 GiB",
    3 << 40: "3.0 TiB",
    5000 << 40: "5000.0 TiB",
}
SHOWN_DURATIONS = {
    0.00085: "850 µs",
    0.0009996: "1 ms",
    0.012: "12 ms",
    0.9996: "1.0 s",
    3.4: "3.4 s",
    59.97: "1 min",
    125.0: "2 min 5 s",
    3600.0: "60 min",
}


@pytest.mark.parametrize(("text", "count_bytes"), BYTES.items(), ids=str)
def test_bytes_are_read_with_every_unit(text: str | int, count_bytes: int) -> None:
    """The suffixes of Kubernetes' quantities, and exact however large the number."""
    assert parse_bytes(text) == count_bytes


@pytest.mark.parametrize(
    "text",
    ["", "-1", -1, "1KB", "Mi", "1 Mi", "1e3", "nan", "inf", True, "٣", "9" * 400, "1.", ".5", "1\n2"],
    ids=ascii,
)
def test_bytes_that_are_none_are_refused(text: str | int) -> None:
    """With what would be right, and never with another error."""
    with pytest.raises(ValueError, match="a number of bytes such as 512Mi"):
        parse_bytes(text)


@given(count=st.integers(0, 2**40), unit=st.sampled_from(["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]))
@THOROUGH
def test_bytes_are_exact(count: int, unit: str) -> None:
    """A whole number of a unit is that many times the unit."""
    assert parse_bytes(f"{count}{unit}") == count * parse_bytes(f"1{unit}")


@given(count_bytes=st.integers(0, 2**60))
@THOROUGH
def test_bytes_as_shown_read_back_nearly(count_bytes: int) -> None:
    """What is shown is at most a twentieth of a unit off, and reads back once KiB is Ki."""
    shown = format_bytes(count_bytes)
    number, unit = shown.split(" ")
    assert abs(parse_bytes(number + unit.removesuffix("B")) - count_bytes) <= 0.052 * parse_bytes("1" + unit[:-1])
    assert unit == "TiB" or float(number) < 1024


@pytest.mark.parametrize(("count_bytes", "shown"), SHOWN_BYTES.items(), ids=str)
def test_bytes_are_shown_in_the_largest_unit(count_bytes: int, shown: str) -> None:
    """Also where rounding reaches the next unit."""
    assert format_bytes(count_bytes) == shown


@pytest.mark.parametrize(("text", "duration_s"), DURATIONS.items(), ids=str)
def test_durations_are_read_with_every_unit(text: str | float, duration_s: float) -> None:
    """A bare number is seconds."""
    assert parse_duration_s(text) == duration_s


@pytest.mark.parametrize(
    "text", ["", "-1s", -1, "1d", "s", "nan", "inf", float("nan"), float("inf"), True, "9" * 400, "٣s"], ids=ascii
)
def test_durations_that_are_none_are_refused(text: str | float) -> None:
    """With what would be right; nothing waits for ever."""
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration_s(text)


@given(count=st.integers(0, 10**6), unit=st.sampled_from([("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]))
@THOROUGH
def test_durations_scale(count: int, unit: tuple[str, float]) -> None:
    """A number of a unit is that many times the unit's seconds."""
    assert parse_duration_s(f"{count}{unit[0]}") == pytest.approx(count * unit[1])


@pytest.mark.parametrize(("duration_s", "shown"), SHOWN_DURATIONS.items(), ids=str)
def test_durations_are_shown_as_people_say_them(duration_s: float, shown: str) -> None:
    """Also where rounding reaches the next unit."""
    assert format_duration_s(duration_s) == shown
