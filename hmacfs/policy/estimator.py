"""What is known of a client's network, from the chunks that it has sent.

Knows neither clocks nor sockets, and nothing that a server could not measure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from hmacfs.model import KiB
from hmacfs.policy import smoothing
from hmacfs.policy.chunks import Network
from hmacfs.policy.smoothing import Forecast

# Rate and round trip change within seconds: on a train the next chunk is not like that of a minute ago.
SOON_S: Final = 15.0
# Interruptions are rare, so it takes long to see how rare.
LONG_S: Final = 600.0

# Of a client of whom nothing is known: a poor line. With these the first chunk is about 2 MiB, which is what
# the fixed size would be.
RATE: Final = 256.0 * KiB
ROUND_TRIP_S: Final = 0.1
BETWEEN_INTERRUPTIONS_S: Final = 300.0
# That guess counts as half an interruption (the prior of Jeffreys for a Poisson process): the first one that
# is seen outweighs it.
GUESSED_S: Final = BETWEEN_INTERRUPTIONS_S / 2
# Bytes that waited in a socket came at no rate at all, so a first chunk that took less does not decide alone.
BURST_S: Final = 0.1
# What is not seen for a week may still happen.
LONGEST_S: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One chunk, as the server saw it."""

    received: int
    """Bytes that arrived."""
    seconds: float
    """From its first byte to its last that arrived."""
    round_trip_s: float
    """Of the connection, more than 0 (TCP_INFO, or the gap between a reply and the next chunk)."""
    served_s: float | None
    """From its last byte to its reply; None if the connection broke before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is known of one client."""

    rate: Forecast
    """Bytes per second, while bytes come."""
    round_trip_s: Forecast
    served_s: Forecast
    interruptions: Forecast
    """Per second of being connected."""
    started: int = 0
    """Chunks that were begun."""
    completed: int = 0
    """Those of them that were answered."""

    @property
    def network(self) -> Network:
        """What to expect of the next chunk."""
        return Network(
            rate=self.rate.value,
            round_trip_s=self.round_trip_s.value,
            served_s=self.served_s.value,
            reliability=self.completed / self.started if self.started else 1.0,
            between_interruptions_s=1 / max(self.interruptions.value, 1 / LONGEST_S),
        )


STRANGER: Final = Estimate(
    rate=Forecast(value=RATE, half_life_s=SOON_S, evidence_s=BURST_S),
    round_trip_s=Forecast(value=ROUND_TRIP_S, half_life_s=SOON_S),
    served_s=Forecast(value=0.0, half_life_s=SOON_S),
    interruptions=Forecast(value=1 / BETWEEN_INTERRUPTIONS_S, half_life_s=LONG_S, evidence_s=GUESSED_S),
)
"""A client that has sent nothing yet."""


@dataclass(slots=True, kw_only=True)
class TransferTotals:
    """Several chunks, or uploads, of one client together; grows in place, since uploads are many."""

    received: int = 0
    """Bytes that arrived, of those whose time was taken."""
    seconds: float = 0.0
    """In which they did."""
    served_s: float = 0.0
    """From last bytes to replies, all together."""
    started: int = 0
    completed: int = 0
    """Those that were answered."""


def updated(estimate: Estimate, sample: Sample) -> Estimate:
    """Return what is known after one more chunk."""
    broken = sample.served_s is None
    seen = TransferTotals(
        received=sample.received,
        seconds=sample.seconds,
        served_s=sample.served_s or 0.0,
        started=1,
        completed=0 if broken else 1,
    )
    return updated_by_all(estimate, seen, sample.round_trip_s)


def updated_by_all(estimate: Estimate, seen: TransferTotals, round_trip_s: float | None) -> Estimate:
    """Return what is known after several more; `round_trip_s` is the mean round trip, None if unknown."""
    broken = seen.started - seen.completed
    round_trips_s = seen.started * (estimate.round_trip_s.value if round_trip_s is None else round_trip_s)
    exposed_s = seen.seconds + round_trips_s + seen.served_s + broken * estimate.served_s.value
    rate = seen.received / seen.seconds if seen.seconds > 0 else 0.0
    served_s, round_trip = estimate.served_s, estimate.round_trip_s
    if seen.completed:
        served_s = smoothing.updated(served_s, seen.served_s / seen.completed, exposed_s)
    if round_trip_s is not None:
        round_trip = smoothing.updated(round_trip, round_trip_s, exposed_s)
    interruptions = estimate.interruptions
    if exposed_s > 0:
        interruptions = smoothing.updated(interruptions, broken / exposed_s, exposed_s)
    return replace(
        estimate,
        rate=smoothing.updated(estimate.rate, rate, seen.seconds),
        round_trip_s=round_trip,
        served_s=served_s,
        interruptions=interruptions,
        started=estimate.started + seen.started,
        completed=estimate.completed + seen.completed,
    )
