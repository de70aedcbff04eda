"""When the space of an upload is taken before its bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import GiB, KiB, MiB
from hmacfs.policy import reservation


@pytest.mark.parametrize(
    ("length", "spare", "want"),
    [
        (0, 0, False),
        (1, 0, True),
        (64 * KiB, GiB, False),
        (64 * KiB, GiB - 1, True),
        (MiB, 16 * GiB, False),
        (MiB, 16 * GiB - 1, True),
        (MiB + 1, 1000 * GiB, True),
    ],
)
def test_what_must_be_reserved(length: int, spare: int, want: bool) -> None:  # noqa: FBT001 - a table
    assert reservation.must_reserve(length, spare) is want


@given(st.integers(0, 64 * GiB), st.lists(st.integers(1, 2 * MiB), max_size=reservation.CROWD // 100))
def test_a_crowd_without_reservations_never_meets_the_margin(spare: int, lengths: list[int]) -> None:
    """Each has seen the same space, since what the others want was not taken yet."""
    free = [length for length in lengths if not reservation.must_reserve(length, spare - length)]
    assert 100 * sum(free) <= spare
