"""What a run gives and what several runs come to: medians, spreads, ratios, bars. Pure.

Knows no server and no client; `readings` makes samples of what clients print.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

GB: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one client saw of one server in one run."""

    requests: int
    bytes: int
    seconds: float
    p50_s: float
    p99_s: float
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that is measured, and how it is written."""

    title: str
    unit: str
    factor: float = 1.0  # what a value is multiplied with to be in `unit`


FIGURES: Final = {
    "cpu_per_request_s": Figure(title="CPU/request", unit="µs", factor=1e6),
    "cpu_per_gb_s": Figure(title="CPU/GB", unit="s"),
    "requests": Figure(title="requests", unit=""),
    "requests_per_s": Figure(title="requests/s", unit=""),
    "bytes_per_s": Figure(title="throughput", unit="MB/s", factor=1e-6),
    "p50_s": Figure(title="p50", unit="ms", factor=1e3),
    "p99_s": Figure(title="p99", unit="ms", factor=1e3),
    "server_busy": Figure(title="server busy", unit=""),
    "client_busy": Figure(title="client busy", unit=""),
    "memory_bytes": Figure(title="memory each", unit="KiB", factor=1 / 1024),
    "instructions": Figure(title="instructions/request", unit=""),
}
"""Every figure by its name in the results."""


class Bar(NamedTuple):
    """What a ratio must come to."""

    rival: str
    limit: float
    figure: str
    ours: str = "hmacfs"
    at_least: bool = False  # the ratio is to be large rather than small

    def holds(self, ratio: float) -> bool:
        """Tell whether a ratio reaches the bar."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


class Middle(NamedTuple):
    """Several runs as one: the median, and how far half of the way from least to most is, relative to it."""

    median: float
    spread: float
    least: float
    most: float


def middle(values: Sequence[float]) -> Middle:
    """Return the median and the spread of at least one value."""
    median, least, most = statistics.median(values), min(values), max(values)
    return Middle(median, (most - least) / 2 / median if median else 0.0, least, most)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Middle:
    """Return the ratio of runs that alternated: round by round, so that what drifts falls out."""
    return middle([mine / other for mine, other in zip(ours, theirs, strict=True)])


def of_sample(sample: Sample, *, server_cpu_s: float, client_cpu_s: float) -> dict[str, float]:
    """Return the figures of one run: cost, throughput, latency and who was busy."""
    return {
        "requests": sample.requests,
        "cpu_per_request_s": server_cpu_s / sample.requests,
        "cpu_per_gb_s": server_cpu_s / sample.bytes * GB,
        "requests_per_s": sample.requests / sample.seconds,
        "bytes_per_s": sample.bytes / sample.seconds,
        "p50_s": sample.p50_s,
        "p99_s": sample.p99_s,
        "server_busy": server_cpu_s / sample.seconds,
        "client_busy": client_cpu_s / sample.seconds,
    }


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the ordered values that `share` of them or more do not exceed (nearest rank)."""
    rank = max(1, -int(-share * len(ordered) // 1))
    return ordered[rank - 1]


def write(name: str, value: float) -> str:
    """Write a value of the figure called `name` in its unit, with three digits that count."""
    figure = FIGURES[name]
    scaled = value * figure.factor
    digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:,.{digits}f} {figure.unit}".rstrip()
