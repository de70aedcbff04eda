"""How much must move within the window of a timeout, so that a client does not count as stalled."""

from __future__ import annotations


def least_bytes(min_rate: float, window_s: float) -> float:
    """Return the bytes that a window must bring; one at least, since a minimum rate of 0 is not "never"."""
    return max(min_rate * window_s, 1)
