from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.units import Duration, Share, Size

FACTORS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
FACTORS_BYTES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("1.5s", 1500), ("0.001s", 1), ("0s", 0)],
)
def test_a_duration_is_read(text: str, milliseconds: int) -> None:
    assert Duration.parse(text) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1 s s", "1,5s", "1e3s", "10S", "10sec", "1m30s", "١s", "1s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is a number and a unit"):
        Duration.parse(text)


def test_a_duration_finer_than_a_millisecond_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of milliseconds"):
        Duration.parse("0.0001s")


@given(st.integers(0, 10**9), st.sampled_from(sorted(FACTORS_MS)))
def test_every_duration_is_exact(number: int, unit: str) -> None:
    assert Duration.parse(f"{number}{unit}") == number * FACTORS_MS[unit]


@given(st.decimals(0, 10**6, places=3), st.sampled_from(["s", "m", "h", "d"]))
def test_a_decimal_duration_is_exact(number: Decimal, unit: str) -> None:
    assert Decimal(int(Duration.parse(f"{number:f}{unit}"))) == number * FACTORS_MS[unit]


@given(st.integers(0, 10**12))
def test_a_written_duration_is_read_back(milliseconds: int) -> None:
    assert Duration.parse(str(Duration(milliseconds))) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("32MiB", 32 * 2**20), ("10MB", 10**7), ("1.5KiB", 1536), ("1 GB", 10**9), ("7B", 7), ("0", 0)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1mib", "1 M", "1e6", "0x10", "1_000", "1MiB "])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is a number of bytes"):
        Size.parse(text)


def test_half_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        Size.parse("0.5")


@given(st.integers(0, 10**12), st.sampled_from(sorted(FACTORS_BYTES)))
def test_every_size_is_exact(number: int, unit: str) -> None:
    assert Size.parse(f"{number}{unit}") == number * FACTORS_BYTES[unit]


@given(st.integers(0, 10**15))
def test_a_written_size_is_read_back(size: int) -> None:
    assert Size.parse(str(Size(size))) == size


def test_units_are_written_in_the_largest_that_divides() -> None:
    assert [str(Duration(value)) for value in (0, 1500, 90_000, 120_000)] == ["0s", "1500ms", "90s", "2m"]
    assert [str(Size(value)) for value in (0, 1000, 1024, 33_554_432)] == ["0B", "1000B", "1KiB", "32MiB"]


@pytest.mark.parametrize(("text", "fraction"), [("10%", 0.1), ("0.5 %", 0.005), ("100%", 1.0), ("0.0001%", 0.000001)])
def test_a_share_is_read(text: str, fraction: float) -> None:
    assert Share.parse(text).fraction == fraction


@pytest.mark.parametrize("text", ["10", "%", "ten%", "-1%", "1e1%", "0.00001%", "1000%", ".5%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a share is"):
        Share.parse(text)


@given(st.integers(0, 9_999_999))
def test_a_written_share_is_read_back(millionths: int) -> None:
    assert Share.parse(str(Share(millionths))) == millionths
