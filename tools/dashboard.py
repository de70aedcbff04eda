"""The dashboard for Grafana 10 and later, made of the table of columns.

Written with `python -m tools.dashboard >deploy/grafana/hmacfs.json`. A panel's words are the help
texts of its metrics, and its unit is theirs. Knows Grafana's classic JSON model, and no server.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hmacfs.metrics.catalogue import METRICS
from hmacfs.metrics.collector import OF_THE_WHOLE

if TYPE_CHECKING:
    from hmacfs.metrics.columns import Metric

# Grafana 10.0's; later releases bring it up to theirs when they import it.
SCHEMA_VERSION: Final = 38
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
HERE: Final = '{instance=~"$instance"}'
"""The label matcher of every expression: the servers chosen at the top of the dashboard."""
QUANTILES: Final = (0.5, 0.95, 0.99)
ROW_WIDTH: Final = 24  # Grafana's grid
PANEL_HEIGHT: Final = 8

# Grafana's words for a base unit: of a number as it is, and of what it grows by in a second.
UNITS: Final = {
    "": "short",
    "bytes": "bytes",
    "seconds": "s",
    "bytes_per_second": "binBps",
    "ratio": "percentunit",
}
RATES: Final = {"": "cps", "bytes": "binBps", "seconds": "percentunit"}

_BY_NAME: Final = {metric.name: metric for metric in (*OF_THE_WHOLE, *METRICS)}


class Query(NamedTuple):
    """One PromQL expression and the name of its lines."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One picture of numbers that have a unit in common."""

    title: str
    metrics: tuple[Metric, ...]
    """What it shows; their help is the panel's."""
    queries: tuple[Query, ...]
    unit: str
    """Grafana's word."""
    kind: str = "timeseries"


def _find(name: str) -> Metric:
    return _BY_NAME[f"hmacfs_{name}"]


def _words(metric: Metric) -> str:
    """Return a line's name: the metric's own without what all have and what the axis says."""
    name = metric.name.removeprefix("hmacfs_").removesuffix("_total").removesuffix(f"_{metric.unit}")
    return name.replace("_", " ")


def _grow(title: str, *names: str) -> Panel:
    """Show what counters grow by in a second."""
    metrics = tuple(_find(name) for name in names)
    queries = [
        Query(f"sum(rate({metric.name}{HERE}[$__rate_interval]))", _words(metric)) for metric in metrics
    ]
    return Panel(title, metrics, tuple(queries), RATES[metrics[0].unit])


def _grow_by(title: str, name: str, label: str) -> Panel:
    """Show what a counter grows by in a second, one line for each value of `label` that happens."""
    metric = _find(name)
    expression = f"sum by ({label}) (rate({metric.name}{HERE}[$__rate_interval])) > 0"
    return Panel(title, (metric,), (Query(expression, f"{{{{{label}}}}}"),), RATES[metric.unit])


def _happen(title: str, *names: str) -> Panel:
    """Show how often something rare happened between two points of the picture."""
    metrics = tuple(_find(name) for name in names)
    queries = [
        Query(f"sum(increase({metric.name}{HERE}[$__rate_interval]))", _words(metric)) for metric in metrics
    ]
    return Panel(title, metrics, tuple(queries), UNITS[""])


def _now(title: str, *names: str) -> Panel:
    """Show gauges."""
    metrics = tuple(_find(name) for name in names)
    queries = [Query(f"sum({metric.name}{HERE})", _words(metric)) for metric in metrics]
    return Panel(title, metrics, tuple(queries), UNITS[metrics[0].unit])


def _now_by(title: str, name: str, label: str) -> Panel:
    """Show a gauge, one line for each value of `label`."""
    metric = _find(name)
    expression = f"sum by ({label}) ({metric.name}{HERE})"
    return Panel(title, (metric,), (Query(expression, f"{{{{{label}}}}}"),), UNITS[metric.unit])


def _typical(title: str, *names: str) -> Panel:
    """Show means, of which those of several servers are averaged and not added."""
    metrics = tuple(_find(name) for name in names)
    queries = [Query(f"avg({metric.name}{HERE})", _words(metric)) for metric in metrics]
    return Panel(title, metrics, tuple(queries), UNITS[metrics[0].unit])


def _spread(title: str, name: str) -> Panel:
    """Show quantiles of a histogram."""
    metric = _find(name)
    rate = f"sum by (le) (rate({metric.name}_bucket{HERE}[$__rate_interval]))"
    queries = [Query(f"histogram_quantile({q}, {rate})", f"p{q * 100:.0f}") for q in QUANTILES]
    return Panel(title, (metric,), tuple(queries), UNITS[metric.unit])


def _picture(title: str, name: str) -> Panel:
    """Show how many fell into each bucket of a histogram, darker for more."""
    metric = _find(name)
    expression = f"sum by (le) (increase({metric.name}_bucket{HERE}[$__rate_interval]))"
    return Panel(title, (metric,), (Query(expression, "{{le}}"),), UNITS[metric.unit], "heatmap")


def _release() -> Panel:
    """Show which release runs where."""
    metric = _find("build_info")
    query = Query(f"{metric.name}{HERE}", "{{instance}}: {{version}}")
    return Panel("Release", (metric,), (query,), "none", "stat")


ROWS: Final = (
    (
        "Traffic",
        (
            _grow_by("Requests by answer", "requests_total", "code"),
            _grow("Bytes in and out", "received_bytes_total", "sent_bytes_total"),
            _now("Connections and transfers", "connections", "active_uploads", "active_downloads"),
            _grow_by("Requests by method", "requests_total", "method"),
            _grow("Accepted connections", "accepted_connections_total"),
            _grow("Range requests", "range_requests_total"),
        ),
    ),
    (
        "Latency",
        (
            _spread("Uploads", "upload_latency_seconds"),
            _spread("Downloads", "download_latency_seconds"),
        ),
    ),
    (
        "Throughput of single transfers",
        (
            _picture("Uploads", "upload_throughput_bytes_per_second"),
            _spread("Uploads", "upload_throughput_bytes_per_second"),
            _picture("Downloads", "download_throughput_bytes_per_second"),
            _spread("Downloads", "download_throughput_bytes_per_second"),
        ),
    ),
    (
        "Clients' lines",
        (
            _typical("Speed", "network_speed_bytes_per_second"),
            _typical("Round trip", "network_latency_seconds"),
            _typical("Uploads that did not break off", "network_reliability_ratio"),
            _picture("Chunks of resumable uploads", "chunk_upload_size_bytes"),
        ),
    ),
    (
        "Errors",
        (
            _grow_by("Uploads by code", "upload_errors_total", "code"),
            _grow_by("Downloads by code", "download_errors_total", "code"),
            _happen(
                "Before a request",
                "proxy_header_errors_total",
                "tls_handshake_errors_total",
            ),
            _happen("Log lines dropped", "log_dropped_lines_total"),
        ),
    ),
    (
        "Uploads",
        (
            _grow_by("By dialect", "uploads_total", "dialect"),
            _spread("Sizes", "upload_size_bytes"),
            _spread("Commit time", "commit_seconds"),
        ),
    ),
    (
        "Storage and memory",
        (
            _now("Disk", "disk_free_bytes", "disk_size_bytes"),
            _now("Lent memory", "buffer_pool_bytes"),
            _happen(
                "Files and uploads removed",
                "expired_files_total",
                "deleted_files_total",
                "expired_uploads_total",
            ),
            _now_by("Workers that put uploads off", "breaker_open", "dependency"),
            _grow_by("Breakers opened", "breaker_opened_total", "dependency"),
            _now("Workers that refuse uploads", "uploads_barred"),
            _happen("Files that may not be read", "denied_files_total"),
        ),
    ),
    (
        "Buffers",
        (
            _now("Size that costs least", "optimal_buffer_size_bytes"),
            _spread("How full they are", "buffer_utilization_ratio"),
            _grow_by("Changes of size", "buffer_size_changes_total", "change"),
            _grow_by("Fast uploads by size", "buffer_trial_bytes_total", "size"),
            _grow_by("Processor time of those", "buffer_trial_seconds_total", "size"),
        ),
    ),
    (
        "Processes",
        (
            _now("Workers", "workers"),
            _happen("Workers started and died", "worker_starts_total", "worker_deaths_total"),
            _spread("Loop lag", "loop_lag_seconds"),
            _release(),
        ),
    ),
)
"""The rows from top to bottom; an operator in trouble reads in this order."""


def text() -> str:
    """Return the dashboard as JSON, as Grafana imports it."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append(_row(title, top, len(panels) + 1))
        top += 1
        columns = 2 if len(row) in {2, 4} else 3
        width = ROW_WIDTH // columns
        for place, panel in enumerate(row):
            down, across = divmod(place, columns)
            grid = {"x": across * width, "y": top + down * PANEL_HEIGHT, "w": width, "h": PANEL_HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": grid, **_panel(panel)})
        top += -(-len(row) // columns) * PANEL_HEIGHT
    return {
        "uid": "hmacfs",
        "title": "hmacfs",
        "description": "Uploads and downloads of hmacfs. Made by python -m tools.dashboard.",
        "tags": ["hmacfs"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # the crosshair of one panel is that of all
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Server",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": "label_values(hmacfs_build_info, instance)", "refId": "instance"},
            "refresh": 2,  # when the time range changes
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _row(title: str, top: int, number: int) -> dict[str, Any]:
    grid = {"x": 0, "y": top, "w": ROW_WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": grid, "panels": []}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": "\n\n".join(metric.help for metric in panel.metrics),
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "format": "heatmap" if panel.kind == "heatmap" else "time_series",
            }
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    # A heatmap's values are counts; the unit is that of its axis.
    return {"unit": UNITS[""]} if panel.kind == "heatmap" else {"unit": panel.unit, "min": 0}


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "heatmap":
            return {"calculate": False, "yAxis": {"unit": panel.unit}, "color": {"scheme": "Blues"}}
        case "stat":
            return {"textMode": "name", "colorMode": "none"}
        case _:
            return {"tooltip": {"mode": "multi", "sort": "desc"}}


if __name__ == "__main__":
    sys.stdout.write(text())
