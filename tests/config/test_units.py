from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hmacfs.config import units
from hmacfs.model import GiB, KiB, MiB, TiB


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (512, 512),
        ("512", 512),
        ("512B", 512),
        ("1KB", KiB),
        ("1 KiB", KiB),
        ("1kib", KiB),
        ("16k", 16 * KiB),
        ("100MB", 100 * MiB),
        ("1.5GB", 3 * GiB // 2),
        ("10GB", 10 * GiB),
        (" 2 TiB ", 2 * TiB),
    ],
)
def test_sizes(written: object, size: int) -> None:
    assert units.parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "",
        "GB",
        "-1",
        -1,
        "1e3",
        "1 PB",
        "0.3KB",
        "1,5GB",
        "ten",
        True,
        None,
        1.5,
        [],
        "9" * 30,
        2**63,
        "1GB 2MB",
        "٣",
    ],
)
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match=r"size|number"):
        units.parse_size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (30, 30.0),
        (1.5, 1.5),
        ("30", 30.0),
        ("30s", 30.0),
        ("250ms", 0.25),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h 30m", None),
        ("720h", 30 * 86_400.0),
        ("7d", 7 * 86_400.0),
        ("2w", 14 * 86_400.0),
        ("2y", 730 * 86_400.0),
        ("1.5h", 5400.0),
    ],
)
def test_durations(written: object, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError, match="duration"):
            units.parse_duration(written)
    else:
        assert units.parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "-5s",
        -1,
        "5 fortnights",
        float("inf"),
        float("nan"),
        False,
        None,
        {},
        "1h30",
        "9" * 400,
        10**400,
    ],
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        units.parse_duration(written)


@given(st.integers(0, units.MOST))
@example(0)
def test_a_size_reads_back(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


@given(st.floats(0, units.MOST) | st.integers(0, 2**53).map(float))
@example(5e-324)
@example(2.0**62)
def test_a_duration_reads_back(seconds: float) -> None:
    written = units.format_duration(seconds)
    if len(written) < 300:
        assert units.parse_duration(written) == seconds


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text()))
def test_anything_is_a_number_or_a_value_error(value: object) -> None:
    for parse in (units.parse_size, units.parse_duration):
        try:
            assert 0 <= parse(value) <= units.MOST
        except ValueError:
            continue
