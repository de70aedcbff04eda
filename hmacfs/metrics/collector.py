"""Rows in, a Prometheus exposition out: the sum of all workers, made when asked.

Runs in the supervisor, never on a worker's loop. Reads the shared memory without a lock: each number is
whole, and numbers read a microsecond apart may differ by the requests of that microsecond.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as PrometheusCollector
from prometheus_client.utils import floatToGoString

import hmacfs
from hmacfs.metrics.catalogue import COLUMNS, METRICS
from hmacfs.metrics.columns import Metric, MetricKind
from hmacfs.metrics.rows import cells_of, slots_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric as Family

BUILD: Final = Metric(
    "hmacfs_build_info", MetricKind.GAUGE, "The release that runs; always 1.", labels=("version",)
)
WORKERS: Final = Metric("hmacfs_workers", MetricKind.GAUGE, "Worker processes alive now.")
DISK_FREE: Final = Metric(
    "hmacfs_disk_free_bytes", MetricKind.GAUGE, "Free space of the storage's filesystem.", "bytes"
)
DISK_SIZE: Final = Metric(
    "hmacfs_disk_size_bytes", MetricKind.GAUGE, "Size of the storage's filesystem.", "bytes"
)

OF_THE_WHOLE: Final = (BUILD, WORKERS, DISK_FREE, DISK_SIZE)
"""Metrics that no worker counts."""


class Collector(PrometheusCollector):
    """Makes one scrape of the shared memory and of what the supervisor knows of the whole."""

    def __init__(
        self,
        buffer: memoryview,
        slots: int,
        *,
        workers: Callable[[], int] | None = None,
        disk_free_bytes: Callable[[], int] | None = None,
        disk_size_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Read `slots` rows of `buffer`; what is None is not exported, nor is a disk that raises OSError.

        Raises ValueError if the buffer holds fewer rows or those of another release.
        """
        if slots > slots_in(buffer):
            raise ValueError(f"{slots} rows asked of a memory of {slots_in(buffer)}")
        self._rows = [cells_of(buffer, slot) for slot in range(slots)]
        self._asked = (
            (WORKERS, workers),
            (DISK_FREE, disk_free_bytes),
            (DISK_SIZE, disk_size_bytes),
        )

    def describe(self) -> Iterable[Family]:
        """Name nothing beforehand: registering then needs no scrape."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Return every family, all workers summed."""
        yield InfoMetricFamily("hmacfs_build", BUILD.help, value={"version": hmacfs.__version__})
        for metric, ask in self._asked:
            if ask is None:
                continue
            try:
                number = ask()
            except OSError:
                continue  # a scrape without the disk's numbers is worth more than none
            yield GaugeMetricFamily(metric.name, metric.help, value=number, unit=metric.unit)
        totals = [sum(cells) for cells in zip(*self._rows, strict=True)] or [0] * len(COLUMNS)
        grouped: dict[str, list[tuple[tuple[str, ...], int]]] = {metric.name: [] for metric in METRICS}
        for column, total in zip(COLUMNS, totals, strict=True):
            grouped[column.metric.name].append((column.values, total))
        for metric in METRICS:
            if metric.kind is not MetricKind.INTERNAL:
                yield _family(metric, grouped[metric.name])


def _family(metric: Metric, cells: list[tuple[tuple[str, ...], int]]) -> Family:
    if metric.kind is MetricKind.HISTOGRAM:
        return _histogram(metric, cells)
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind is MetricKind.COUNTER:
        name = metric.name.removesuffix("_total")
        family = CounterMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    if metric.mean:
        (_, total), (_, weight) = cells
        if weight:
            family.add_metric((), total / weight)
        return family
    for values, total in cells:
        if total or not metric.sparse:
            family.add_metric(values, total if metric.scale == 1 else total / metric.scale)
    return family


def _histogram(metric: Metric, cells: list[tuple[tuple[str, ...], int]]) -> Family:
    """Add the buckets up, as the exposition wants them; the columns hold each by itself."""
    buckets: list[tuple[str, float]] = []
    count = 0
    for (bound,), total in cells[:-1]:
        count += total
        written = floatToGoString(bound)  # type: ignore[no-untyped-call] # the library left it so
        buckets.append((written, count))
    family = HistogramMetricFamily(metric.name, metric.help, unit=metric.unit)
    family.add_metric((), buckets, cells[-1][1] / metric.scale)
    return family


def registry(collector: Collector) -> CollectorRegistry:
    """Return a registry that holds `collector` alone, not the library's global one."""
    made = CollectorRegistry(auto_describe=False)
    made.register(collector)
    return made


def render(collector: Collector, *, openmetrics: bool = False) -> bytes:
    """Make one scrape in Prometheus' text format, or in OpenMetrics'."""
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain")
    return encode(registry(collector))
