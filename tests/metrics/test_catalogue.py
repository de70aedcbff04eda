"""What is counted has good names, and every label a client can cause has a column."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmacfs import auth, errors, metrics
from hmacfs.metrics import catalogue
from hmacfs.metrics.catalogue import CODES, METHODS
from hmacfs.metrics.columns import MetricKind
from tools import metrics_reference

EXPORTED = [metric for metric in catalogue.METRICS if metric.kind is not MetricKind.INTERNAL]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("metric", EXPORTED, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: metrics.Metric) -> None:
    assert metric.name.startswith("hmacfs_")
    assert metric.name.endswith("_total") is (metric.kind is MetricKind.COUNTER)
    assert metric.name.removesuffix("_total").endswith(metric.unit)
    assert metric.help.endswith(".")
    assert list(metric.bounds) == sorted(set(metric.bounds))


def test_names_are_unique() -> None:
    # OpenMetrics names a counter's family without "_total", so that a gauge may not be called the same.
    names = [metric.name.removesuffix("_total") for metric in catalogue.METRICS]
    assert len(names) == len(set(names))


def test_every_refusal_has_its_columns() -> None:
    for refusal in errors.CATALOGUE:
        assert catalogue.COLUMNS[catalogue.UPLOAD_ERRORS[refusal.code]].values == (refusal.code,)
        assert catalogue.COLUMNS[catalogue.DOWNLOAD_ERRORS[refusal.code]].values == (refusal.code,)
        assert catalogue.COLUMNS[catalogue.REQUESTS["PUT", refusal.code]].values == ("PUT", refusal.code)


def test_every_pair_has_a_column_of_its_own() -> None:
    columns = {catalogue.REQUESTS[method, code] for method in METHODS for code in CODES}
    assert len(columns) == len(METHODS) * len(CODES)


@pytest.mark.parametrize(
    ("pair", "want"),
    [
        (("BREW", "ok"), ("other", "ok")),
        (("GET", "no such code"), ("GET", "other")),
        (("", ""), ("other", "other")),
    ],
)
def test_what_is_on_no_list_counts_as_other(pair: tuple[str, str], want: tuple[str, str]) -> None:
    size = len(catalogue.REQUESTS)
    assert catalogue.COLUMNS[catalogue.REQUESTS[pair]].values == want
    assert len(catalogue.REQUESTS) == size
    assert catalogue.COLUMNS[catalogue.UPLOADS["\n"]].values == ("other",)


def test_the_committed_reference_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "metrics.md").read_text()
    assert committed == metrics_reference.text(), "run: python -m tools.metrics_reference >docs/metrics.md"


def test_the_reference_names_every_exported_metric() -> None:
    for metric in EXPORTED:
        assert f"## {metric.name}\n" in metrics_reference.text()
    assert "heartbeat" not in metrics_reference.text()


def test_every_dialect_has_a_column() -> None:
    for dialect in auth.DIALECTS:
        assert catalogue.COLUMNS[catalogue.UPLOADS[dialect]].values == (dialect,)
