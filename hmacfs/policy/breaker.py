"""A circuit breaker: whether something that keeps failing is to be left alone for a while.

Knows neither clocks nor chance nor what it stands before: times are of one monotonic clock, and
chances lie in [0, 1). Nygard, "Release It!" (2nd ed.), ch. 5.

    closed     all may pass; faults are counted
    open       nothing may, until its time is over
    half-open  one may, the probe: if it succeeds the breaker closes, if it fails that opens it for longer
"""

from __future__ import annotations

import errno
from typing import Final

STORAGE_FAULTS: Final = frozenset(
    {
        errno.EIO,
        errno.EROFS,  # what a filesystem becomes that has found a fault in itself
        errno.EUCLEAN,  # such a fault
        errno.ENODEV,
        errno.ENOTCONN,  # a network storage, or one in user space, that is gone
        errno.ESHUTDOWN,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
    }
)
"""What says that a storage is broken, whatever is written. A full disk is not."""

# So many faults one after another are no accident; a lone one is answered as it always was.
IN_A_ROW: Final = 5
# Where successes come between: of at least so many outcomes in a window, this share are faults.
LEAST_OUTCOMES: Final = 20
SHARE: Final = 0.5
WINDOW_S: Final = 10.0
# Uploads that are published together fail together: faults within this time of the first are one.
MOMENT_S: Final = 0.02

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
# A pause is between half and all of its length, so that workers do not send their probes together.
FIXED_SHARE: Final = 0.5
# A probe that has said nothing by then (a large upload, a client gone) is followed by another one.
PROBE_S: Final = 5.0

NEVER: Final = float("-inf")


class Breaker:
    """What is known of one dependency."""

    __slots__ = (
        "_faults",
        "_in_a_row",
        "_last_fault",
        "_outcomes",
        "_pause_s",
        "_probing",
        "_until",
        "_window",
    )

    def __init__(self) -> None:
        """Begin closed."""
        self._close()

    def _close(self) -> None:
        """Forget everything."""
        self._probing = False
        self._pause_s = 0.0  # 0 is closed
        self._until = NEVER
        self._window = NEVER  # when the count of outcomes began
        self._last_fault = NEVER
        self._in_a_row = self._faults = self._outcomes = 0

    @property
    def closed(self) -> bool:
        """Whether all may pass."""
        return not self._pause_s

    @property
    def at_rest(self) -> bool:
        """Whether nothing is held against it, so that a success changes nothing."""
        return self.closed and not self._outcomes

    def is_open(self, now: float) -> bool:
        """Whether nothing may pass at `now`; half-open it is not, unless a probe is on its way."""
        return now < self._until

    def wait_s(self, now: float) -> float:
        """Return the seconds until something may pass; 0 if that is now."""
        return max(self._until - now, 0.0)

    def admit(self, now: float) -> bool:
        """Say whether one more may pass; half-open, the first who is told so is the probe."""
        if now < self._until:
            return False
        if not self.closed:
            self._probing = True
            self._until = now + PROBE_S
        return True

    def succeed(self, now: float) -> None:
        """Take a success at `now` into account; one of before it opened says nothing."""
        if self._probing:
            self._close()
        elif self.closed and self._outcomes:
            self._in_a_row = 0
            self._outcomes += 1
            if now - self._window > WINDOW_S:
                self._close()

    def fail(self, now: float, chance: float) -> None:
        """Take a fault at `now` into account; `chance` shortens the pause if it opens."""
        if self._probing:
            self._open(now, min(2 * self._pause_s, LONGEST_PAUSE_S), chance)
        if not self.closed or now - self._last_fault < MOMENT_S:
            return
        self._last_fault = now
        if now - self._window > WINDOW_S:
            self._window = now
            self._outcomes = self._faults = 0
        self._in_a_row += 1
        self._faults += 1
        self._outcomes += 1
        many = self._outcomes >= LEAST_OUTCOMES and self._faults >= SHARE * self._outcomes
        if many or self._in_a_row >= IN_A_ROW:
            self._open(now, FIRST_PAUSE_S, chance)

    def _open(self, now: float, pause_s: float, chance: float) -> None:
        self._probing = False
        self._pause_s = pause_s
        self._until = now + pause_s * (FIXED_SHARE + (1 - FIXED_SHARE) * chance)
