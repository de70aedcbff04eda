"""Two scrapes in, figures for a person or a script out. Pure: knows no socket and no screen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hmacfs.stats.scrape import Scrape

LATENCIES: Final = {
    "upload": "hmacfs_upload_latency_seconds",
    "download": "hmacfs_download_latency_seconds",
    "commit": "hmacfs_commit_seconds",
    "loop_lag": "hmacfs_loop_lag_seconds",
}
THROUGHPUTS: Final = {
    "upload": "hmacfs_upload_throughput_bytes_per_second",
    "download": "hmacfs_download_throughput_bytes_per_second",
}
WHOLE_FILES_AND_PARTS: Final = ("ok", "partial")
"""Answers to GET that are downloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Quantiles of times; None where nothing was timed."""

    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One kind of times."""

    now: Spread
    """In the interval."""
    ever: Spread
    """Since the server started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often something happened."""

    now: int
    """In the interval."""
    ever: int
    """Since the server started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Transfers whose rate lay between two bounds, since the server started."""

    above: float
    """Bytes a second."""
    upto: float | None
    """Bytes a second, inclusive; None: no bound."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """What one size of buffer has given, since the server started."""

    size: int
    """Bytes."""
    received: int
    """Bytes of fast uploads that it received."""
    busy_s: float
    """Processor time that took."""

    @property
    def rate(self) -> float:
        """Bytes for each second that a core was busy."""
        return self.received / self.busy_s if self.busy_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened in one interval, and the state at its end."""

    version: str
    interval_s: float
    workers: int
    connections: int
    active_uploads: int
    active_downloads: int
    uploads_per_s: float
    downloads_per_s: float
    received_bytes_per_s: float
    sent_bytes_per_s: float
    disk_free_bytes: int | None
    """None if the disk did not answer."""
    disk_size_bytes: int | None
    latency: dict[str, Latency]
    """By the names of LATENCIES."""
    throughput: dict[str, list[Bucket]]
    """By the names of THROUGHPUTS."""
    buffers: list[Buffer]
    """Those sizes that were used, rising."""
    optimal_buffer_bytes: int
    """The size found to cost least."""
    upload_errors: dict[str, Count]
    """By code, those that happened since the server started."""
    download_errors: dict[str, Count]


def between(before: Scrape, after: Scrape, interval_s: float) -> Figures:
    """Make the figures of two scrapes that lie `interval_s` apart."""
    grown = after.since(before)
    downloads = sum(
        grown.total("hmacfs_requests_total", method="GET", code=code) for code in WHOLE_FILES_AND_PARTS
    )
    return Figures(
        version=next(iter(after.by("hmacfs_build_info", "version")), ""),
        interval_s=interval_s,
        workers=int(after.total("hmacfs_workers")),
        connections=int(after.total("hmacfs_connections")),
        active_uploads=int(after.total("hmacfs_active_uploads")),
        active_downloads=int(after.total("hmacfs_active_downloads")),
        uploads_per_s=grown.total("hmacfs_uploads_total") / interval_s,
        downloads_per_s=downloads / interval_s,
        received_bytes_per_s=grown.total("hmacfs_received_bytes_total") / interval_s,
        sent_bytes_per_s=grown.total("hmacfs_sent_bytes_total") / interval_s,
        disk_free_bytes=_whole(after.find("hmacfs_disk_free_bytes")),
        disk_size_bytes=_whole(after.find("hmacfs_disk_size_bytes")),
        latency={
            kind: Latency(now=_spread(grown, name), ever=_spread(after, name))
            for kind, name in LATENCIES.items()
        },
        throughput={kind: _buckets(after, name) for kind, name in THROUGHPUTS.items()},
        buffers=_used(after),
        optimal_buffer_bytes=int(after.total("hmacfs_optimal_buffer_size_bytes")),
        upload_errors=_errors(grown, after, "hmacfs_upload_errors_total"),
        download_errors=_errors(grown, after, "hmacfs_download_errors_total"),
    )


def quantile(q: float, buckets: list[tuple[float, float]]) -> float | None:
    """Return a quantile as Prometheus' histogram_quantile does: rising evenly within a bucket.

    `buckets` are upper bounds and how many lie at or below each. None if there is nothing; the last finite
    bound if the quantile lies beyond it.
    """
    if not buckets or not buckets[-1][1]:
        return None
    rank = q * buckets[-1][1]
    for (low, below), (high, upto) in pairwise([(0.0, 0.0), *buckets]):
        if upto >= rank and upto > below:
            return low if math.isinf(high) else low + (high - low) * (rank - below) / (upto - below)
    return None


def _spread(scrape: Scrape, name: str) -> Spread:
    buckets = scrape.buckets(name)
    return Spread(p50_s=quantile(0.5, buckets), p95_s=quantile(0.95, buckets))


def _buckets(scrape: Scrape, name: str) -> list[Bucket]:
    return [
        Bucket(above=low, upto=None if math.isinf(high) else high, count=int(upto - below))
        for (low, below), (high, upto) in pairwise([(0.0, 0.0), *scrape.buckets(name)])
    ]


def _used(scrape: Scrape) -> list[Buffer]:
    busy_s = scrape.by("hmacfs_buffer_trial_seconds_total", "size")
    received = scrape.by("hmacfs_buffer_trial_bytes_total", "size")
    found = [
        Buffer(size=int(size), received=int(count), busy_s=busy_s.get(size, 0.0))
        for size, count in received.items()
        if count
    ]
    return sorted(found, key=lambda buffer: buffer.size)


def _errors(grown: Scrape, after: Scrape, name: str) -> dict[str, Count]:
    now = grown.by(name, "code")
    ever = after.by(name, "code")
    return {code: Count(now=int(now[code]), ever=int(n)) for code, n in sorted(ever.items()) if n}


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
