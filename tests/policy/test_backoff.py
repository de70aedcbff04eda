"""Waits before further tries: growing, cut by chance, and short in all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import backoff

# Beginning and naming an upload may both be waited for.
LONGEST_S = 0.5


def test_the_bounds_double() -> None:
    waits_s = list(backoff.delays(lambda: 1.0, exponential=True))
    assert len(waits_s) == backoff.RETRIES
    assert waits_s[0] == backoff.FIRST_S
    assert all(later == 2 * wait for wait, later in itertools.pairwise(waits_s))
    assert sum(waits_s) < LONGEST_S


def test_without_back_off_all_are_the_same() -> None:
    waits_s = list(backoff.delays(lambda: 0.0, exponential=False))
    assert waits_s == [backoff.STEADY_S] * backoff.RETRIES
    assert sum(waits_s) < LONGEST_S


@given(st.lists(st.floats(0.0, 1.0), min_size=backoff.RETRIES, max_size=backoff.RETRIES))
def test_chance_takes_any_share(chances: list[float]) -> None:
    """Full jitter: from nothing to the bound."""
    waits_s = list(backoff.delays(iter(chances).__next__, exponential=True))
    bounds_s = backoff.delays(lambda: 1.0, exponential=True)
    shares_s = [chance * bound_s for chance, bound_s in zip(chances, bounds_s, strict=True)]
    assert waits_s == pytest.approx(shares_s)
