"""Whether a disk is too slow for the event loop: how long writes were waiting in, a verdict out.

Knows neither clocks nor disks. A verdict lasts: one fast write does not call a disk fast again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# One wait so long is told apart from a busy processor: that takes a slice of 3 to 5 ms away, now and then.
ALARM_S: Final = 0.010
# On average, where nobody waits long but all wait often. Writing into the page cache is work and no wait.
SLOW_S: Final = 0.003
FAST_S: Final = 0.0015
# Share of the newest write in the average: the last ten or so count.
WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What is known of a disk."""

    smoothed_s: float = 0.0
    """How long writes are waiting lately."""
    slow: bool = False
    """Whether they are kept off the loop."""


def updated(disk: Disk, waited_s: float) -> Disk:
    """Return what is known after one more write."""
    smoothed_s = disk.smoothed_s + WEIGHT * (waited_s - disk.smoothed_s)
    if waited_s >= ALARM_S:
        # Not less, or the average of one alarm among fast writes would never call the disk slow.
        return Disk(smoothed_s=max(smoothed_s, SLOW_S), slow=True)
    return Disk(smoothed_s=smoothed_s, slow=smoothed_s > (FAST_S if disk.slow else SLOW_S))
