"""The classes of lines, and what is done for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import KiB, MiB
from hmacfs.policy import quality
from hmacfs.policy.quality import LineThresholds, Quality

BOUNDS = LineThresholds()
RATES = st.floats(1, 1e10)
TRIPS = st.floats(1e-6, 100)
CLASSES = st.sampled_from(Quality)


@pytest.mark.parametrize(
    ("rate", "round_trip_s", "want"),
    [
        (None, None, None),
        (100 * MiB, 0.001, Quality.EXCELLENT),
        (10 * MiB, 0.05, Quality.EXCELLENT),
        (10 * MiB - 1, 0.05, Quality.GOOD),
        (100 * MiB, 0.1, Quality.GOOD),
        (1 * MiB, None, Quality.GOOD),
        (500 * KiB, 0.01, Quality.FAIR),
        (None, 0.3, Quality.FAIR),
        (100 * KiB, 0.01, Quality.POOR),
        (1 * MiB, 0.6, Quality.POOR),
    ],
)
def test_the_worse_of_rate_and_round_trip_decides(
    rate: float | None, round_trip_s: float | None, want: Quality | None
) -> None:
    assert quality.judge(rate, round_trip_s, BOUNDS) is want


@given(rate=RATES, more=RATES, trip=TRIPS, less=TRIPS, before=st.none() | CLASSES)
def test_a_better_line_is_never_judged_worse(
    rate: float, more: float, trip: float, less: float, before: Quality | None
) -> None:
    slow, quick = sorted((rate, more))
    near, far = sorted((trip, less))
    worse, better = (
        quality.judge(slow, far, BOUNDS, before),
        quality.judge(quick, near, BOUNDS, before),
    )
    assert worse is not None
    assert better is not None
    assert worse <= better


@given(bound=st.sampled_from(BOUNDS.rates), wobble=st.lists(st.floats(0.9, 1.1), min_size=2), before=CLASSES)
def test_a_line_as_good_as_a_bound_stays_where_it_is(
    bound: float, wobble: list[float], before: Quality
) -> None:
    """After its first change of mind: a tenth more or less than the bound is no reason for another."""
    current, changes = before, 0
    for factor in wobble:
        found = quality.judge(bound * factor, 0.01, BOUNDS, current)
        assert found is not None
        changes += found is not current
        current = found
    assert changes <= 2


@given(rate=RATES, trip=TRIPS, before=CLASSES)
def test_a_steady_line_settles_at_once(rate: float, trip: float, before: Quality) -> None:
    first = quality.judge(rate, trip, BOUNDS, before)
    assert quality.judge(rate, trip, BOUNDS, first) is first


@given(rate=RATES, trip=TRIPS, before=CLASSES)
def test_the_class_before_matters_near_a_bound_only(rate: float, trip: float, before: Quality) -> None:
    found = quality.judge(rate, trip, BOUNDS, before)
    easy = quality.judge(rate, trip, BOUNDS)
    hard = quality.judge(rate / quality.MARGIN, trip * quality.MARGIN, BOUNDS)
    assert found in {easy, hard}


def test_the_worse_a_line_the_less_waits_for_it_and_the_longer_it_is_waited_for() -> None:
    treatments = [quality.TREATMENTS[each] for each in sorted(Quality, reverse=True)]
    turns = [one.turn_bytes for one in treatments]
    assert turns == sorted(set(turns), reverse=True)
    waiting = [one.unsent_bytes or float("inf") for one in treatments]
    assert waiting == sorted(set(waiting), reverse=True)
    patience = [one.patience for one in treatments]
    assert patience == sorted(patience)


@pytest.mark.parametrize(
    ("patience", "seconds", "want"),
    [(1, 30, 30), (2, 30, 60), (2, 100, 120), (2, 600, 600), (1, 600, 600)],
)
def test_patience_has_a_bound_and_never_takes_time_away(patience: float, seconds: float, want: float) -> None:
    assert quality.Treatment(patience=patience).window_s(seconds) == want
