"""Smoothing: a sample weighs as much as the time it describes, and less as time goes by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import smoothing
from hmacfs.policy.smoothing import Forecast

VALUES = st.floats(0, 1e9)
TIMES = st.floats(0.001, 1e5)
SAMPLES = st.lists(st.tuples(VALUES, TIMES), max_size=30)
NEW = Forecast(value=5.0, half_life_s=10.0)
PRIOR = replace(NEW, evidence_s=3.0)


def after(first: Forecast, samples: list[tuple[float, float]]) -> Forecast:
    for sample, seconds in samples:
        first = smoothing.updated(first, sample, seconds)
    return first


def test_a_guess_goes_with_the_first_sample() -> None:
    assert smoothing.updated(NEW, 7.0, 0.001).value == 7.0


def test_a_sample_of_no_time_says_nothing() -> None:
    assert smoothing.updated(NEW, 7.0, 0.0) == NEW
    assert smoothing.updated(PRIOR, 7.0, 0.0) == PRIOR


def test_in_the_long_run_what_is_a_half_life_old_counts_half() -> None:
    settled = after(NEW, [(4.0, 1000.0)])
    assert smoothing.updated(settled, 8.0, 10.0).value == pytest.approx(6.0)


@given(SAMPLES)
def test_what_is_expected_lies_among_guess_and_samples(samples: list[tuple[float, float]]) -> None:
    seen = [PRIOR.value, *(sample for sample, _ in samples)]
    assert min(seen) * (1 - 1e-9) <= after(PRIOR, samples).value <= max(seen) * (1 + 1e-9)


@given(SAMPLES, VALUES)
def test_what_stays_the_same_is_soon_expected(samples: list[tuple[float, float]], last: float) -> None:
    assert after(PRIOR, [*samples, (last, 600.0)]).value == pytest.approx(last, rel=1e-6, abs=1e-6)


@given(SAMPLES, VALUES, TIMES, st.floats(0.01, 0.99))
def test_where_a_sample_is_cut_does_not_matter(
    samples: list[tuple[float, float]], sample: float, seconds: float, share: float
) -> None:
    before = after(PRIOR, samples)
    whole = smoothing.updated(before, sample, seconds)
    cut = after(before, [(sample, seconds * share), (sample, seconds * (1 - share))])
    assert cut.value == pytest.approx(whole.value)
    assert cut.evidence_s == pytest.approx(whole.evidence_s)


@given(SAMPLES, VALUES, VALUES, TIMES)
def test_a_larger_sample_never_makes_less_expected(
    samples: list[tuple[float, float]], one: float, other: float, seconds: float
) -> None:
    before = after(PRIOR, samples)
    least, most = (smoothing.updated(before, sample, seconds).value for sample in sorted((one, other)))
    assert least <= most
