"""What links do, whoever uses them: rates that change, round trips, disconnects and the time until they end.

The figures of the links are orders of magnitude, not measurements: a fast one that hardly ever breaks, two in
between, and one that keeps breaking. They are spread, so that no two clients have the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.model import KiB

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SEGMENT_BYTES: Final = 1460
# Rate and time between disconnects of clients on the same kind of link: half to twice as much is common.
SPREAD: Final = 0.7
# How much of a rate's deviation is left at its next change.
MEMORY: Final = 0.7
# No link of ours is slower, or the larger chunks would never pass.
LEAST_RATE: Final = 16 * KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One kind of link."""

    rate: float  # bytes per second of the client in the middle
    round_trip_s: float
    jitter: float  # standard deviation of the logarithm of a round trip
    loss: float  # share of segments
    change_s: float  # mean time after which the rate is another
    change: float  # standard deviation of the rate's logarithm
    between_s: float  # mean time from one disconnect to the next, of the client in the middle
    outage_s: tuple[float, float]  # least and most time that a disconnect lasts


LINKS: Final = {
    "fibre": Link(
        rate=12.5e6,
        round_trip_s=0.008,
        jitter=0.1,
        loss=1e-5,
        change_s=60,
        change=0.1,
        between_s=3600,
        outage_s=(1, 10),
    ),
    "wifi": Link(
        rate=4e6,
        round_trip_s=0.02,
        jitter=0.5,
        loss=2e-4,
        change_s=10,
        change=0.4,
        between_s=600,
        outage_s=(1, 5),
    ),
    "lte": Link(
        rate=1.2e6,
        round_trip_s=0.06,
        jitter=0.4,
        loss=1e-4,
        change_s=10,
        change=0.6,
        between_s=180,
        outage_s=(1, 15),
    ),
    "train": Link(
        rate=0.6e6,
        round_trip_s=0.09,
        jitter=0.6,
        loss=5e-4,
        change_s=5,
        change=0.9,
        between_s=60,
        outage_s=(5, 60),  # stations and tunnels
    ),
}


class Stretch(NamedTuple):
    """Some time in which a link stays as it is."""

    seconds: float
    rate: float  # bytes per second
    outage_s: float  # at its end the connection breaks, and cannot be made again for so long; 0: it goes on


def weather(link: Link, chance: random.Random) -> Iterator[Stretch]:
    """Return what one client's link does, for ever. Nobody who uses it changes it."""
    middle = math.log(link.rate) + chance.gauss(0, SPREAD)
    between_s = link.between_s * math.exp(chance.gauss(0, SPREAD))
    # A connection with losses gets no more (Mathis et al. 1997, CCR 27(3)).
    cap = SEGMENT_BYTES / link.round_trip_s * math.sqrt(1.5 / link.loss)
    deviation = chance.gauss(0, link.change)
    while True:
        left_s = chance.expovariate(1 / between_s)
        while left_s > 0:
            seconds = min(left_s, chance.expovariate(1 / link.change_s))
            left_s -= seconds
            rate = max(LEAST_RATE, min(math.exp(middle + deviation), cap))
            yield Stretch(seconds, rate, 0.0 if left_s > 0 else chance.uniform(*link.outage_s))
            deviation = MEMORY * deviation + chance.gauss(0, link.change * math.sqrt(1 - MEMORY**2))


class Line:
    """A connection over a link, and the clock."""

    def __init__(self, stretches: Iterator[Stretch]) -> None:
        """Connect at time 0."""
        self.now_s = 0.0
        self._stretches = stretches
        self._at = next(stretches)
        self._left_s = self._at.seconds

    @property
    def rate(self) -> float:
        """Bytes per second at this moment."""
        return self._at.rate

    def send(self, length: int) -> int:
        """Send for as long as it takes; give how many bytes went before the connection broke."""
        left = float(length)
        while left > self._left_s * self._at.rate:
            left -= self._left_s * self._at.rate
            if not self._pass_by():
                return length - math.ceil(left)
        self._spend(left / self._at.rate)
        return length

    def wait(self, seconds: float) -> bool:
        """Let time pass; say whether the connection still stands."""
        while seconds > self._left_s:
            seconds -= self._left_s
            if not self._pass_by():
                return False
        self._spend(seconds)
        return True

    def mend(self) -> None:
        """Wait until a broken connection can be made again."""
        self.now_s += self._at.outage_s
        self._go_on()

    def _pass_by(self) -> bool:
        self._spend(self._left_s)
        if self._at.outage_s:
            return False
        self._go_on()
        return True

    def _go_on(self) -> None:
        self._at = next(self._stretches)
        self._left_s = self._at.seconds

    def _spend(self, seconds: float) -> None:
        self.now_s += seconds
        self._left_s -= seconds
