"""How good a client's line is, in four classes, and what is done for each: rate and latency in, words out.

A class is left only for a good reason: to be counted better a line must be better by a margin than what the
class asks for, so that one which is about as good as a bound stays where it is.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from hmacfs.model import KiB, MiB
from hmacfs.policy import buffers

# A fifth: about what a rate measured over one transfer is off by.
MARGIN: Final = 1.25
# However patient, nobody is waited for longer than this, unless the site itself waits longer.
LONGEST_PATIENCE_S: Final = 120.0


class Quality(enum.IntEnum):
    """How good a line is; more is better."""

    POOR = 0
    FAIR = 1
    GOOD = 2
    EXCELLENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LineThresholds:
    """What each class but the last asks for."""

    rates: tuple[float, float, float] = (10.0 * MiB, 1.0 * MiB, 128.0 * KiB)
    """Least bytes per second of an excellent, a good and a fair line."""
    latencies_s: tuple[float, float, float] = (0.05, 0.15, 0.4)
    """Largest round trips of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What is done for a client."""

    turn_bytes: int = buffers.TURN_BYTES
    """The most of a reply that is sent before others have their turn."""
    unsent_bytes: int = 0
    """What of a reply may wait in the kernel unsent (TCP_NOTSENT_LOWAT); 0: as much as the kernel likes."""
    patience: float = 1.0
    """How much longer a body may take to average the least rate."""

    def window_s(self, seconds: float) -> float:
        """Return how long a body's rate is averaged, of the site's `seconds`."""
        return max(seconds, min(self.patience * seconds, LONGEST_PATIENCE_S))


AS_EVER: Final = Treatment()
"""For a client of whom nothing is known, and for all if quality is not adapted to."""

# An excellent line takes what it is given at once: nothing waits in the kernel, and less would only make more
# turns of it. Bytes that wait for a slower one are memory, and were read long before they are needed.
TREATMENTS: Final = {
    Quality.EXCELLENT: AS_EVER,
    Quality.GOOD: Treatment(turn_bytes=512 * KiB, unsent_bytes=512 * KiB),
    Quality.FAIR: Treatment(turn_bytes=256 * KiB, unsent_bytes=256 * KiB, patience=1.5),
    Quality.POOR: Treatment(turn_bytes=64 * KiB, unsent_bytes=64 * KiB, patience=2.0),
}


def judge(
    rate: float | None, round_trip_s: float | None, bounds: LineThresholds, before: Quality | None = None
) -> Quality | None:
    """Return the class of a line by the worse of both; None if neither is known.

    `before` is its class so far.
    """
    if rate is None and round_trip_s is None:
        return None
    if before is None:
        return _class(rate, round_trip_s, bounds, 1.0)
    at_least = _class(rate, round_trip_s, bounds, MARGIN)
    at_most = _class(rate, round_trip_s, bounds, 1.0)
    return at_least if at_least > before else min(before, at_most)


def _class(rate: float | None, round_trip_s: float | None, bounds: LineThresholds, margin: float) -> Quality:
    """Return the class of a line that must be better than each bound by `margin`."""
    found = Quality.EXCELLENT
    if rate is not None:
        found = min(found, _passed([rate >= least * margin for least in bounds.rates]))
    if round_trip_s is not None:
        found = min(found, _passed([round_trip_s * margin <= most for most in bounds.latencies_s]))
    return found


def _passed(tests: list[bool]) -> Quality:
    """Return the best class whose test is passed; those of lesser classes are easier."""
    return Quality(len(tests) - tests.index(True)) if True in tests else Quality.POOR
