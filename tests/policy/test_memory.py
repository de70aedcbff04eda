"""How many files a worker may hold open for answers from memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import memory


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_held_files_leave_most_descriptors_to_connections(one: int, other: int) -> None:
    assert 0 <= memory.files(one) <= min(memory.LIMIT_FILES, one / 8)
    assert memory.files(min(one, other)) <= memory.files(max(one, other))


def test_with_plenty_of_descriptors_the_limit_is_reached() -> None:
    assert memory.files(1 << 20) == memory.LIMIT_FILES
