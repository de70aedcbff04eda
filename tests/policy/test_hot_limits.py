"""How many files a worker may hold open for answers from memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import hot_limits


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_held_files_leave_most_descriptors_to_connections(one: int, other: int) -> None:
    assert 0 <= hot_limits.files(one) <= min(hot_limits.LIMIT_FILES, one / 8)
    assert hot_limits.files(min(one, other)) <= hot_limits.files(max(one, other))


def test_with_plenty_of_descriptors_the_limit_is_reached() -> None:
    assert hot_limits.files(1 << 20) == hot_limits.LIMIT_FILES
