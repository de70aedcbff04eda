"""Whether work on the storage may be done on the event loop itself, judged by what it has cost there.

On a quick storage the way to a thread and back costs more than the work of a small upload. On a slow one
that work would hold up everybody. So the loop does it until it has had to wait; then threads do it for a
while, the longer the longer that wait was.
"""

from __future__ import annotations

from typing import Final

from hmacfs.model import MiB

# A wait of w is followed by a pause of w * w / this: ten waits of 0.1 ms (another process holds the lock of a
# directory) do no harm, while those of 3 ms may take a tenth of the loop's time and no more.
HARMLESS_S: Final = 0.0003

# From here on a wait may be the storage's own pace, or that of another process which held a lock when the
# processor was taken from it. So the first pause is ten times as long as the wait; but if the storage turns
# out to be slow again before it has been quick for so many steps, the factor doubles.
LONG_S: Final = 0.003
FIRST_FACTOR: Final = 10.0
STEADY_STEPS: Final = 100
LONGEST_PAUSE_S: Final = 60.0

# Pauses that are forgiven if there were none before, since everything waits now and then for a moment.
FORGIVEN_S: Final = 0.1

# What Python's own measure of a wait has to be above: a thread that has the interpreter keeps it for up to
# 5 ms (sys.getswitchinterval), and several may want it.
STALL_S: Final = 0.02

# Reserving space for more than this may take long on any storage, since many extents have to be found.
SMALL_BYTES: Final = 1 * MiB

# Uploads that are published in one turn of the loop; each takes about 50 us.
TURN_UPLOADS: Final = 16


class Pace:
    """Where the next work on the storage is to be done. Times are of one monotonic clock."""

    __slots__ = ("_factor", "_good_at", "_steps")

    def __init__(self) -> None:
        """Try the loop first: the first slow work is the last for a while."""
        self._good_at = float("-inf")
        self._factor = FIRST_FACTOR
        self._steps = STEADY_STEPS  # done on the loop since the last long wait

    def on_loop(self, now: float, length: int) -> bool:
        """Say whether the next step for an upload of `length` bytes may be done on the loop."""
        if now < self._good_at or length > SMALL_BYTES:
            return False
        self._steps += 1
        return True

    def note(self, now: float, waited_s: float) -> None:
        """Take into account that work on the loop ended at `now` and has waited for `waited_s` seconds.

        Waited, not worked: what takes the processor's time would take as much of it on a thread.
        """
        if waited_s < LONG_S:
            self._good_at = max(self._good_at, now - FORGIVEN_S) + waited_s * waited_s / HARMLESS_S
            return
        self._factor = FIRST_FACTOR if self._steps >= STEADY_STEPS else 2 * self._factor
        self._steps = 0
        self._good_at = max(self._good_at, now) + min(self._factor * waited_s, LONGEST_PAUSE_S)

    def note_aside(self, now: float, waited_s: float) -> None:
        """Take into account that a thread has waited so long for what the loop did before.

        So the pause lasts as long as the storage is slow, and the loop need not find out by waiting itself.
        """
        if waited_s >= LONG_S:
            self._good_at = max(self._good_at, now + min(FIRST_FACTOR * waited_s, LONGEST_PAUSE_S))
