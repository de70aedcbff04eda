"""What a PromQL expression speaks of: the series of ours that it names and the labels it asks of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.metrics import catalogue
from hmacfs.metrics.catalogue import COLUMNS
from hmacfs.metrics.collector import OF_THE_WHOLE
from hmacfs.metrics.columns import MetricKind

if TYPE_CHECKING:
    from hmacfs import metrics

EXPORTED: Final = (
    *OF_THE_WHOLE,
    *(metric for metric in catalogue.METRICS if metric.kind is not MetricKind.INTERNAL),
)
TARGET_LABELS: Final = {"job", "instance"}
"""Those that Prometheus adds to every series."""

_NAMED: Final = re.compile(r"\b(?P<name>hmacfs_\w+)(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER: Final = re.compile(r'(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*"(?P<value>[^"]*)"')
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring)\s*\((?P<labels>[^)]*)\)")
_STRING: Final = re.compile(r'"[^"]*"')


class Series(NamedTuple):
    """One name that a scrape shows, and what it is of."""

    metric: metrics.Metric
    labels: frozenset[str]


def _series() -> dict[str, Series]:
    known = {}
    for metric in EXPORTED:
        labels = frozenset(metric.labels) | TARGET_LABELS
        if metric.kind is MetricKind.HISTOGRAM:
            known[f"{metric.name}_bucket"] = Series(metric, labels | {"le"})
            known[f"{metric.name}_sum"] = known[f"{metric.name}_count"] = Series(metric, labels)
        else:
            known[metric.name] = Series(metric, labels)
    return known


SERIES: Final = _series()


def names(expression: str) -> set[str]:
    """Return the names of ours in the expression; a string, such as a label's value, holds none."""
    return {found["name"] for found in _NAMED.finditer(_STRING.sub('""', expression))}


def faults(expression: str) -> list[str]:
    """Say what of ours the expression names that no scrape shows: names, labels, label values."""
    wrong = [f"no series {name}" for name in sorted(names(expression) - SERIES.keys())]
    asked = [SERIES[name] for name in names(expression) & SERIES.keys()]
    for found in _GROUPED.finditer(expression):
        labels = set(re.findall(r"\w+", found["labels"]))
        wrong += [f"no label {label} to group by" for label in sorted(labels) if not _has(asked, label)]
    for found in _NAMED.finditer(expression):
        for matcher in _MATCHER.finditer(found["matchers"] or ""):
            wrong += _mismatches(found["name"], matcher)
    return wrong


def _has(asked: list[Series], label: str) -> bool:
    return all(label in series.labels for series in asked)


def _mismatches(name: str, matcher: re.Match[str]) -> list[str]:
    label = matcher["label"]
    if name not in SERIES:
        return []
    metric, labels = SERIES[name]
    if label not in labels:
        return [f"{name} has no label {label}"]
    if label not in metric.labels:
        return []
    place = metric.labels.index(label)
    known = {column.values[place] for column in COLUMNS if column.metric is metric}
    values = matcher["value"].split("|") if "~" in matcher["how"] else [matcher["value"]]
    return [f"{name} has no {label} {value}" for value in values if value not in known]
