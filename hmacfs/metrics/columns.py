"""What a family of numbers is, and which columns of a row it has.

Knows no family by name: `catalogue` names them. Knows nothing of memory or of rendering.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

LabelT = TypeVar("LabelT")


class MetricKind(enum.StrEnum):
    """What a column's number means over time."""

    COUNTER = "counter"
    """Only grows; survives a worker's restart."""
    GAUGE = "gauge"
    """The state now; set back to 0 when a worker starts."""
    HISTOGRAM = "histogram"
    """Counts by size, and their sum; survives a worker's restart."""
    INTERNAL = "internal"
    """Between supervisor and worker; not exported."""


class Metric(NamedTuple):
    """One family of numbers as the scrape shows it."""

    name: str
    """Full name, with unit and "_total" where it has them."""
    kind: MetricKind
    help: str
    unit: str = ""
    """Base unit, last word of the name (before "_total")."""
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper, inclusive bounds of a histogram's buckets, rising; the bucket beyond the last is implied."""
    scale: int = 1
    """What a counter, or a histogram's sum, is multiplied by to be kept as an integer."""
    mean: bool = False
    """Whether a gauge is a mean: it has two columns, and is the sum of one divided by that of the other."""
    sparse: bool = False
    """Whether label combinations that never happened are left out of the scrape."""


class Column(NamedTuple):
    """One 64-bit integer of a row."""

    metric: Metric
    values: tuple[str, ...] = ()
    """Label values; of a histogram its bucket's upper bound, or "sum"."""


class Histogram(NamedTuple):
    """Where a histogram lies in a row."""

    bounds: tuple[float, ...]
    first: int
    """Column of the first bucket; one for each bound follows, and one for what lies beyond the last."""
    sum: int
    """Column of the sum of all values, in 1/scale of the unit."""
    scale: int


class Mean(NamedTuple):
    """Where a mean lies in a row."""

    total: int
    """Column of the sum of what is averaged, each times its weight."""
    weight: int
    """Column of the sum of the weights."""


class Labelled(dict[LabelT, int]):
    """Columns by label; a label on no list counts as "other", for counting must never fail a request."""

    __slots__ = ("_other",)

    def __init__(self, columns: Iterable[tuple[LabelT, int]], other: int) -> None:
        """Map labels to `columns`, and everything else to the column `other`."""
        super().__init__(columns)
        self._other = other

    def __missing__(self, label: LabelT) -> int:
        """Return the column of what is on no list."""
        return self._other


class _Requests(Labelled[tuple[str, str]]):
    """Columns by method and code; where one of them is on no list, the other still tells."""

    __slots__ = ("_codes", "_methods", "_others")

    def __init__(self, methods: tuple[str, ...], codes: tuple[str, ...], columns: range) -> None:
        pairs = [(method, code) for method in methods for code in codes]
        super().__init__(zip(pairs, columns, strict=True), columns[-1])
        self._methods, self._codes, self._others = set(methods), set(codes), pairs[-1]

    def __missing__(self, label: tuple[str, str]) -> int:
        method = label[0] if label[0] in self._methods else self._others[0]
        return self[method, label[1] if label[1] in self._codes else self._others[1]]


class Families:
    """All families in the order in which they are added, and the columns that they take in a row."""

    def __init__(self) -> None:
        """Have none yet."""
        self.metrics: list[Metric] = []
        self.columns: list[Column] = []

    def add(self, metric: Metric, values: Iterable[tuple[str, ...]]) -> range:
        """Return the columns of a family, one for each of its label values."""
        first = len(self.columns)
        self.metrics.append(metric)
        self.columns.extend(Column(metric, labels) for labels in values)
        return range(first, len(self.columns))

    def plain(self, metric: Metric) -> int:
        """Return the column of a family without labels."""
        return self.add(metric, [()])[0]

    def counter(self, name: str, words: str, unit: str = "") -> int:
        """Return the column of a plain counter."""
        return self.plain(Metric(name, MetricKind.COUNTER, words, unit))

    def gauge(self, name: str, words: str, unit: str = "") -> int:
        """Return the column of a plain gauge."""
        return self.plain(Metric(name, MetricKind.GAUGE, words, unit))

    def by_label(self, metric: Metric, values: tuple[str, ...]) -> Labelled[str]:
        """Return columns by label value; the last value stands for all that are on no list."""
        columns = self.add(metric, ((value,) for value in values))
        return Labelled(zip(values, columns, strict=True), columns[-1])

    def by_method_and_code(
        self, metric: Metric, methods: tuple[str, ...], codes: tuple[str, ...]
    ) -> Labelled[tuple[str, str]]:
        """Return columns by both; the last of each stands for all that are on no list."""
        pairs = ((method, code) for method in methods for code in codes)
        return _Requests(methods, codes, self.add(metric, pairs))

    def by_value(self, metric: Metric, values: Iterable[LabelT]) -> dict[LabelT, int]:
        """Return columns by all values that there are; each is shown as its str."""
        values = tuple(values)
        return dict(zip(values, self.add(metric, ((str(value),) for value in values)), strict=True))

    def histogram(self, metric: Metric) -> Histogram:
        """Return where a histogram lies: its buckets, that beyond the last bound, the sum."""
        bounds = [str(float(bound)) for bound in metric.bounds]
        columns = self.add(metric, ((bound,) for bound in (*bounds, "+Inf", "sum")))
        return Histogram(metric.bounds, columns[0], columns[-1], metric.scale)

    def mean(self, metric: Metric) -> Mean:
        """Return where a gauge lies that is a mean: its sum, and its weight."""
        return Mean(*self.add(metric._replace(mean=True), (("total",), ("weight",))))
