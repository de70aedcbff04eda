"""How large the next chunk of a resumable upload should be: what is known of a client in, bytes out.

A chunk costs its round trip, so small ones waste time; a broken one is sent again, so large ones do too.
Whether a disconnect loses the chunk depends on the protocol: tus and the IETF's resumable uploads keep each
byte that arrived, the Go server's X-Chunk-Number keeps whole chunks only.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final

from hmacfs.model import KiB, MiB

MIN_BYTES: Final = 256 * KiB
MAX_BYTES: Final = 10 * MiB
FIXED_BYTES: Final = 2 * MiB

# The rule that the project started from.
QUICK_RATE: Final = 100 * MiB  # bytes per second
QUICK_ROUND_TRIP_S: Final = 0.050
POOR_RELIABILITY: Final = 0.8
POOR_ROUND_TRIP_S: Final = 0.200
POOR_BYTES: Final = 512 * KiB


class Algorithm(enum.StrEnum):
    """How the size is chosen."""

    FIXED = "fixed"
    ADAPTIVE = "adaptive"
    PREDICTIVE = "predictive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a server expects of a client's next chunk."""

    rate: float
    """Bytes per second while bytes come."""
    round_trip_s: float
    """Seconds between two chunks that the network takes."""
    served_s: float
    """The same that the server takes: to store a chunk and answer."""
    reliability: float
    """Share of chunks begun that were completed, 0 to 1."""
    between_interruptions_s: float
    """Mean time that a connection lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkedUpload:
    """What is to be sent in chunks."""

    size: int
    """Bytes of the file."""
    left: int
    """Bytes of it still to come."""
    keeps_partial: bool
    """Whether the protocol goes on where a broken chunk ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBounds:
    """`min_chunk_size` and `max_chunk_size`."""

    least: int = MIN_BYTES
    most: int = MAX_BYTES


def advise(
    algorithm: Algorithm, network: Network, upload: ChunkedUpload, bounds: ChunkBounds = ChunkBounds()
) -> int:
    """Return the bytes of the next chunk: within `bounds`, but what is left if that is less."""
    match algorithm:
        case Algorithm.FIXED:
            wanted: float = FIXED_BYTES
        case Algorithm.ADAPTIVE:
            wanted = _adapted(network, upload.size)
        case Algorithm.PREDICTIVE if upload.keeps_partial:
            wanted = bounds.most  # a disconnect loses what was in flight, whatever the size of the chunk
        case Algorithm.PREDICTIVE:
            cost_s = network.round_trip_s + network.served_s
            wanted = network.rate * interval_s(cost_s, network.between_interruptions_s)
    return min(int(max(bounds.least, min(wanted, bounds.most))), upload.left)


def interval_s(cost_s: float, between_interruptions_s: float) -> float:
    """Return how long to send before it is worth `cost_s` to have it kept, in seconds.

    The optimum interval between checkpoints: sqrt(2 c M) if c is much less than M (Young 1974, A First Order
    Approximation to the Optimum Checkpoint Interval, CACM 17(9)), here with the next two terms and the limit
    for large c (Daly 2006, A Higher Order Estimate of the Optimum Checkpoint Interval for Restart Dumps,
    Future Generation Computer Systems 22(3)). What it costs to connect again is not in it: it is
    paid for each interruption, and not for each chunk.
    """
    ratio = cost_s / (2 * between_interruptions_s)
    if ratio >= 1:
        return between_interruptions_s
    young_s = math.sqrt(2 * cost_s * between_interruptions_s)
    return young_s * (1 + math.sqrt(ratio) / 3 + ratio / 9) - cost_s


def _adapted(network: Network, size: int) -> float:
    if network.rate > QUICK_RATE and network.round_trip_s < QUICK_ROUND_TRIP_S:
        return min(size / 10, MAX_BYTES)
    if network.reliability < POOR_RELIABILITY or network.round_trip_s > POOR_ROUND_TRIP_S:
        return min(size / 50, POOR_BYTES)
    return min(size / 20, FIXED_BYTES)
