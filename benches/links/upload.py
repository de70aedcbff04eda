"""One upload in chunks over one line, as client and server live through it.

The server advises with what it has measured of this upload alone; every client is new to it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

from benches.links.weather import Line, Link, weather
from hmacfs.policy import chunks, estimator
from hmacfs.policy.chunks import Algorithm, ChunkedUpload
from hmacfs.policy.estimator import Sample

# TCP, TLS 1.3 and the question what has arrived. Slow start is left out: all chunks share a connection,
# so it costs the same whatever their size.
RESUME_ROUND_TRIPS: Final = 3
# Mean time in which a server stores a chunk and answers.
SERVED_S: Final = 0.005
# A loss among the last segments is noticed by nobody but a timer (RFC 6298, least value in use).
LAST_SEGMENTS: Final = 10
TIMER_S: Final = 0.2


@dataclass(slots=True, kw_only=True)
class Result:
    """What an upload took."""

    size: int
    seconds: float = 0.0
    sent: int = 0
    """Bytes of the body, each as often as it was sent."""
    resent: int = 0
    """Those of them that were sent in vain."""
    chunks: int = 0
    interruptions: int = 0


def run(link: Link, size: int, seed: str, algorithm: Algorithm, *, keeps_partial: bool) -> Result:
    """Upload `size` bytes; the same `seed` is the same line, whatever is sent over it."""
    line = Line(weather(link, random.Random(seed)))
    chance = random.Random(f"{seed} replies")
    estimate = estimator.STRANGER
    result = Result(size=size)
    left = size
    while left:
        upload = ChunkedUpload(size=size, left=left, keeps_partial=keeps_partial)
        wanted = chunks.advise(algorithm, estimate.network, upload)
        began_s = line.now_s
        moved = line.send(wanted)
        seconds = line.now_s - began_s
        round_trip_s = link.round_trip_s * math.exp(chance.gauss(0, link.jitter))
        served_s = chance.expovariate(1 / SERVED_S)
        late_s = TIMER_S if chance.random() < LAST_SEGMENTS * link.loss else 0.0
        whole = moved == wanted and line.wait(round_trip_s + served_s + late_s)
        # What has left the client takes half a round trip to arrive.
        arrived = moved if moved == wanted else max(0, moved - int(line.rate * round_trip_s / 2))
        kept = moved if whole else arrived if keeps_partial else 0
        left -= kept
        result.sent += moved
        result.resent += moved - kept
        result.chunks += 1
        estimate = estimator.updated(
            estimate,
            Sample(
                received=arrived,
                seconds=seconds,
                round_trip_s=round_trip_s,
                served_s=served_s if whole else None,
            ),
        )
        if not whole:
            result.interruptions += _resume(line, RESUME_ROUND_TRIPS * round_trip_s)
    result.seconds = line.now_s
    return result


def _resume(line: Line, cost_s: float) -> int:
    """Connect again; give how often the connection broke until that was done."""
    broke = 1
    line.mend()
    while not line.wait(cost_s):
        line.mend()
        broke += 1
    return broke
