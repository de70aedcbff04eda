"""What is known of a client: what was seen of it lately in, a profile out.

Knows neither clocks nor names: `pseudonym` makes the key under which a profile is kept.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hmacfs.policy import chunks, estimator, quality, smoothing
from hmacfs.policy.chunks import Algorithm
from hmacfs.policy.estimator import STRANGER, Estimate, TransferTotals
from hmacfs.policy.quality import Quality
from hmacfs.policy.smoothing import Forecast

# A client that comes back later may be on another line: what was known counts half after so long.
FADING_S: Final = 3600.0
# A rate that was measured for less is no rate yet: what one round trip of a quick line takes.
RATED_S: Final = 0.05
_NUMBERS: Final = 16


TAKING: Final = Forecast(value=estimator.RATE, half_life_s=estimator.SOON_S)
"""What a client is expected to take of whom nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One client."""

    uploads: Estimate = STRANGER
    """What it sends, and how long the way to it is."""
    taking: Forecast = TAKING
    """Bytes per second that it takes."""
    dialect: str = ""
    """The token dialect of most of its uploads; "" before the first."""
    votes: int = 0
    """How many more of its uploads spoke that than others."""
    quality: Quality | None = None
    """How good its line is; None until its rate is known."""
    seen: float = 0.0
    """Wall-clock time of what was last seen of it."""

    @property
    def reliability(self) -> float:
        """Share of uploads begun that were completed; 1 before the first."""
        return self.uploads.network.reliability

    @property
    def interruptions_per_byte(self) -> float:
        """How often an upload breaks off for each byte that is sent."""
        return self.uploads.interruptions.value / max(self.uploads.rate.value, 1.0)

    @property
    def rate(self) -> float | None:
        """Bytes per second of its quicker direction; None if neither was measured for long enough."""
        known = []
        if self.taking.evidence_s >= RATED_S:
            known.append(self.taking.value)
        if (sending := self.sending_rate) is not None:
            known.append(sending)
        return max(known, default=None)

    @property
    def sending_rate(self) -> float | None:
        """Bytes per second that it sends; None if not measured for long enough."""
        # Of its evidence the first guess was worth as much as a burst.
        if self.uploads.rate.evidence_s < estimator.BURST_S + RATED_S:
            return None
        return self.uploads.rate.value

    @property
    def round_trip_s(self) -> float | None:
        """Seconds there and back; None if not measured."""
        return self.uploads.round_trip_s.value if self.uploads.round_trip_s.evidence_s > 0 else None


UNKNOWN: Final = Profile()
"""A client of whom nothing was seen."""


@dataclass(slots=True, kw_only=True)
class Observations:
    """What was seen of one client since its profile was last looked at; grows in place."""

    uploads: TransferTotals = field(default_factory=TransferTotals)
    taken: int = 0
    """Bytes of downloads that arrived, of those whose time was taken."""
    taking_s: float = 0.0
    """In which they did."""
    round_trips_s: float = 0.0
    """Sum of the round trips measured."""
    round_trips: int = 0
    """Number of these."""
    dialects: dict[str, int] = field(default_factory=dict)
    """How many uploads spoke each."""


def updated(profile: Profile, observed: Observations, bounds: quality.LineThresholds, now: float) -> Profile:
    """Return what is known after `observed`, at wall-clock time `now`."""
    known = faded(profile, now)
    round_trip_s = observed.round_trips_s / observed.round_trips if observed.round_trips else None
    uploads = estimator.updated_by_all(known.uploads, observed.uploads, round_trip_s)
    if round_trip_s is not None and not observed.uploads.started:
        trip = smoothing.updated(uploads.round_trip_s, round_trip_s, max(observed.taking_s, round_trip_s))
        uploads = replace(uploads, round_trip_s=trip)
    taking = known.taking
    if observed.taking_s > 0:
        taking = smoothing.updated(taking, observed.taken / observed.taking_s, observed.taking_s)
    dialect, votes = known.dialect, known.votes
    for name, count in observed.dialects.items():
        dialect, votes = _vote(dialect, votes, name, count)
    found = replace(known, uploads=uploads, taking=taking, dialect=dialect, votes=votes, seen=now)
    line = None
    if found.rate is not None:  # a short way alone makes no line a good one
        line = quality.judge(found.rate, found.round_trip_s, bounds, profile.quality)
    return replace(found, quality=line)


def faded(profile: Profile, now: float) -> Profile:
    """Return what a profile is still worth at `now`: the values stay, what stands behind them shrinks."""
    kept = 2.0 ** (-max(now - profile.seen, 0.0) / FADING_S)
    uploads = profile.uploads

    def less(one: Forecast, guessed_s: float = 0.0) -> Forecast:
        # A guess never fades: without it the first burst would decide alone.
        return replace(one, evidence_s=max(one.evidence_s * kept, min(one.evidence_s, guessed_s)))

    return replace(
        profile,
        uploads=replace(
            uploads,
            rate=less(uploads.rate, estimator.BURST_S),
            round_trip_s=less(uploads.round_trip_s),
            served_s=less(uploads.served_s),
            interruptions=less(uploads.interruptions, estimator.GUESSED_S),
        ),
        taking=less(profile.taking),
    )


def _vote(dialect: str, votes: int, name: str, count: int) -> tuple[str, int]:
    """Count `count` uploads of `name`, remembering one candidate only.

    Boyer and Moore 1991, MJRTY: A Fast Majority Vote Algorithm.
    """
    if name == dialect:
        return dialect, votes + count
    return (dialect, votes - count) if votes >= count else (name, count - votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRules:
    """How chunks are advised."""

    algorithm: Algorithm
    bounds: chunks.ChunkBounds


def chunk_rules(*, intelligent: bool, algorithm: str, least: int, most: int) -> ChunkRules:
    """Return what [performance] says of chunks."""
    return ChunkRules(
        algorithm=Algorithm(algorithm) if intelligent else Algorithm.FIXED,
        bounds=chunks.ChunkBounds(least=least, most=most),
    )


def advise(profile: Profile, upload: chunks.ChunkedUpload, how: ChunkRules) -> int:
    """Return the bytes of the next chunk of `upload`."""
    return chunks.advise(how.algorithm, profile.uploads.network, upload, how.bounds)


def suspected(profile: Profile, rate: float | None, round_trip_s: float | None) -> Profile:
    """Return the profile with hints where nothing was measured."""
    uploads = profile.uploads
    if rate is not None and profile.rate is None:
        uploads = replace(uploads, rate=replace(uploads.rate, value=rate))
    if round_trip_s is not None and profile.round_trip_s is None:
        uploads = replace(uploads, round_trip_s=replace(uploads.round_trip_s, value=round_trip_s))
    return replace(profile, uploads=uploads)


def dump(profile: Profile) -> str:
    """Return a profile as text that `load` reads."""
    pairs = [(one.value, one.evidence_s) for one in _forecasts(profile)]
    uploads = profile.uploads
    rest = [uploads.started, uploads.completed, profile.votes, profile.quality, profile.seen, profile.dialect]
    return json.dumps([*(number for pair in pairs for number in pair), *rest])


def load(text: str) -> Profile:
    """Return the profile that `dump` wrote. Raises ValueError for anything else."""
    found = json.loads(text)
    if not isinstance(found, list) or len(found) != _NUMBERS:
        raise ValueError("not a profile")
    *numbers, started, completed, votes, line, seen, dialect = found
    if not isinstance(dialect, str) or not all(map(_is_amount, (*numbers, started, completed, votes, seen))):
        raise ValueError("not a profile")
    rate, round_trip_s, served_s, interruptions, taking = (
        replace(one, value=float(value), evidence_s=float(evidence_s))
        for one, value, evidence_s in zip(_forecasts(UNKNOWN), numbers[::2], numbers[1::2], strict=True)
    )
    uploads = Estimate(
        rate=rate,
        round_trip_s=round_trip_s,
        served_s=served_s,
        interruptions=interruptions,
        started=int(started),
        completed=int(completed),
    )
    return Profile(
        uploads=uploads,
        taking=taking,
        dialect=dialect,
        votes=int(votes),
        quality=None if line is None else Quality(line),
        seen=float(seen),
    )


def _forecasts(profile: Profile) -> tuple[Forecast, ...]:
    uploads = profile.uploads
    return (uploads.rate, uploads.round_trip_s, uploads.served_s, uploads.interruptions, profile.taking)


def _is_amount(number: Any) -> bool:
    return isinstance(number, (int, float)) and math.isfinite(number) and number >= 0
