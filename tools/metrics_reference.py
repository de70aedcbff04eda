"""The reference of metrics, made of the table of columns.

Written with `python -m tools.metrics_reference >docs/metrics.md`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from hmacfs.metrics.catalogue import COLUMNS, METRICS
from hmacfs.metrics.collector import OF_THE_WHOLE
from hmacfs.metrics.columns import MetricKind

if TYPE_CHECKING:
    from hmacfs.metrics.columns import Metric

OPENING: Final = """# Metrics

Written by `python -m tools.metrics_reference`; change `hmacfs/metrics/catalogue.py`, not this file.

`GET /metrics` on the address of `[metrics] listen_address` gives these in Prometheus' text format, or in
OpenMetrics if the `Accept` field asks for it. Every number is the sum of all workers. Counters and histograms
survive the restart of a worker and begin at 0 when the server starts; gauges are the state now. Label values
come from the closed lists below, never from a client. A labelled series exists from the start, at 0, but for
`hmacfs_requests_total`, whose combinations appear when they first happen.
"""


def text() -> str:
    """Return the whole reference as Markdown."""
    metrics = (*OF_THE_WHOLE, *(metric for metric in METRICS if metric.kind is not MetricKind.INTERNAL))
    sections = [OPENING, *(_section(metric) for metric in metrics)]
    return "\n".join(sections)


def _section(metric: Metric) -> str:
    lines = [f"## {metric.name}", "", f"{metric.kind.value.capitalize()}. {metric.help}"]
    if metric.bounds:
        buckets = ", ".join(f"{bound:.12g}" for bound in metric.bounds)
        lines += ["", f"- buckets ({metric.unit}): {buckets}, +Inf"]
    found = [column.values for column in COLUMNS if column.metric is metric]
    lines += [""] if metric.labels else []
    for place, label in enumerate(metric.labels):
        values = dict.fromkeys(values[place] for values in found)
        said = ", ".join(f"`{value}`" for value in values) or "free text"
        lines.append(f"- label `{label}`: {said}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
