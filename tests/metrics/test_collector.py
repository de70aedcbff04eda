"""The scrape: complete, parseable in both formats, and robust to a disk that does not answer."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import hmacfs
from hmacfs import metrics
from hmacfs.metrics import catalogue
from hmacfs.metrics.columns import MetricKind


def made(**asked: object) -> metrics.Collector:
    return metrics.Collector(memoryview(bytearray(metrics.memory_bytes(2))), 2, **asked)  # type: ignore[arg-type] # callables by name


def broken() -> int:
    raise OSError(5, "input/output error")


def test_both_formats_show_every_metric() -> None:
    collector = made()
    text = {family.name for family in parse_text(metrics.render(collector).decode())}
    opened = {
        family.name: family
        for family in parse_openmetrics(  # type: ignore[no-untyped-call] # the library left it so
            metrics.render(collector, openmetrics=True).decode()
        )
    }
    for metric in catalogue.METRICS:
        family = metric.name.removesuffix("_total")
        shown = metric.kind is not MetricKind.INTERNAL
        assert (family in opened) is shown
        assert (family in text) is shown
        if shown:
            assert opened[family].documentation == metric.help
            assert opened[family].unit == metric.unit


def test_what_the_supervisor_knows_is_shown() -> None:
    collector = made(workers=lambda: 4, disk_free_bytes=lambda: 4096, disk_size_bytes=lambda: 1 << 41)
    lines = metrics.render(collector).decode().splitlines()
    assert f'hmacfs_build_info{{version="{hmacfs.__version__}"}} 1.0' in lines
    assert "hmacfs_workers 4.0" in lines
    assert "hmacfs_disk_free_bytes 4096.0" in lines
    assert "hmacfs_disk_size_bytes 2.199023255552e+12" in lines


def test_a_broken_disk_does_not_break_the_scrape() -> None:
    text = metrics.render(made(disk_free_bytes=broken, disk_size_bytes=lambda: 5)).decode()
    assert "hmacfs_disk_free_bytes" not in text
    assert "hmacfs_disk_size_bytes 5.0" in text
    assert "hmacfs_connections 0.0" in text


def test_requests_that_never_happened_are_left_out() -> None:
    buffer = memoryview(bytearray(metrics.memory_bytes(1)))
    metrics.CounterRow(buffer, 0).add(catalogue.REQUESTS["GET", "partial"])
    lines = metrics.render(metrics.Collector(buffer, 1)).decode().splitlines()
    assert [line for line in lines if line.startswith("hmacfs_requests_total")] == [
        'hmacfs_requests_total{code="partial",method="GET"} 1.0'
    ]


def test_more_slots_than_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="3 rows"):
        metrics.Collector(memoryview(bytearray(metrics.memory_bytes(2))), 3)
