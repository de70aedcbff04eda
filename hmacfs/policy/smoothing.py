"""What comes next, from what was measured: exponential smoothing of samples that each stand for some time.

Brown's simple smoothing (Brown 1959, Statistical Forecasting for Inventory Control) gives every sample the
same weight. Chunks take from milliseconds to minutes, so here a sample weighs as much as the time that it
describes, and what is older counts half after each `half_life_s`. While little has been seen, a sample weighs
more than later, so that the start is forgotten at once and not slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """An expected value, and how much stands behind it."""

    value: float
    """What is expected; before any sample, a guess."""
    half_life_s: float
    """Seconds of samples after which older ones count half."""
    evidence_s: float = 0.0
    """Seconds of samples behind the value, older ones counting less; with 0 the guess goes with a sample."""


def updated(forecast: Forecast, sample: float, seconds: float) -> Forecast:
    """Return what is expected after `sample`, the mean of what was seen for `seconds`, not less than 0.

    A sample may be cut: two equal ones of half the time say the same as one of the whole.
    """
    kept = 2.0 ** (-seconds / forecast.half_life_s)
    gained_s = (1.0 - kept) * forecast.half_life_s / math.log(2)
    evidence_s = forecast.evidence_s * kept + gained_s
    if evidence_s <= 0.0:
        return forecast
    share = gained_s / evidence_s
    return replace(forecast, value=forecast.value * (1.0 - share) + sample * share, evidence_s=evidence_s)
