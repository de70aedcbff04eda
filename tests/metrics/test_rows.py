"""Counting in shared memory, by one process and by several."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import children
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import hmacfs
from hmacfs import metrics
from hmacfs.metrics import catalogue, rows

if TYPE_CHECKING:
    import contextlib
    import subprocess

SOURCE = str(Path(hmacfs.__file__).parents[1])
CHILD = """
import sys
from hmacfs import metrics
from hmacfs.metrics import catalogue
fd, slot, rounds = map(int, sys.argv[1:])
row = metrics.CounterRow(metrics.attach(fd), slot)
row.reset_gauges()
row.add(catalogue.WORKER_STARTS)
row.add(catalogue.CONNECTIONS, 5)
for _ in range(rounds):
    row.add(catalogue.REQUESTS["GET", "ok"])
    row.add(catalogue.SENT_BYTES, 1 << 30)
    row.observe(catalogue.COMMIT_SECONDS, 0.003)
"""


def samples(collector: metrics.Collector) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render(collector).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def blank(slots: int = 1) -> memoryview:
    return memoryview(bytearray(metrics.memory_bytes(slots)))


def test_rows_share_no_cache_line() -> None:
    assert rows.ROW_BYTES % rows.LINE_BYTES == 0
    assert len(catalogue.COLUMNS) * rows.CELL_BYTES <= rows.ROW_BYTES


def test_a_row_touches_no_other() -> None:
    buffer = blank(3)
    middle = metrics.CounterRow(buffer, 1)
    for column in range(len(catalogue.COLUMNS)):
        middle.set(column, -1)
    for slot in (0, 2):
        other = metrics.CounterRow(buffer, slot)
        assert not any(other.read(column) for column in range(len(catalogue.COLUMNS)))


@pytest.mark.parametrize("slot", [-1, 2, 10**6])
def test_a_slot_that_is_not_there_is_refused(slot: int) -> None:
    with pytest.raises(ValueError, match="no row"):
        metrics.CounterRow(blank(2), slot)


def test_memory_of_another_release_is_refused() -> None:
    buffer = blank()
    buffer.cast("q")[0] = rows.LAYOUT + 1
    with pytest.raises(ValueError, match="another release"):
        metrics.CounterRow(buffer, 0)
    with pytest.raises(ValueError, match="another release"):
        metrics.Collector(buffer, 1)


def test_a_new_worker_forgets_gauges_and_keeps_counters() -> None:
    row = metrics.CounterRow(blank(), 0)
    row.add(catalogue.CONNECTIONS, 7)
    row.add(catalogue.ACCEPTED_CONNECTIONS, 7)
    row.observe(catalogue.LOOP_LAG, 0.5)
    row.reset_gauges()
    assert row.read(catalogue.CONNECTIONS) == 0
    assert row.read(catalogue.ACCEPTED_CONNECTIONS) == 7
    assert row.read(catalogue.LOOP_LAG.sum) == 500_000_000


@settings(max_examples=30)  # each renders a whole scrape
@given(values=st.lists(st.floats(0, 10_000)))
def test_each_value_lies_in_the_bucket_whose_bound_it_does_not_pass(values: list[float]) -> None:
    buffer = blank()
    row = metrics.CounterRow(buffer, 0)
    for value in values:
        row.observe(catalogue.UPLOAD_LATENCY, value)
    got = samples(metrics.Collector(buffer, 1))
    name = "hmacfs_upload_latency_seconds"
    assert got[f"{name}_count", ()] == len(values)
    assert got[f"{name}_sum", ()] == pytest.approx(sum(values), abs=1e-6)
    buckets = [(dict(labels)["le"], n) for (found, labels), n in got.items() if found == f"{name}_bucket"]
    assert len(buckets) == len(catalogue.UPLOAD_LATENCY.bounds) + 1
    for bound, count in buckets:
        assert count == sum(value <= float(bound) for value in values)


def test_a_size_beyond_the_last_bound_is_counted() -> None:
    buffer = blank()
    metrics.CounterRow(buffer, 0).observe(catalogue.UPLOAD_SIZE, 1 << 50)
    got = samples(metrics.Collector(buffer, 1))
    assert got["hmacfs_upload_size_bytes_bucket", (("le", "+Inf"),)] == 1
    assert got["hmacfs_upload_size_bytes_bucket", (("le", "1.073741824e+10"),)] == 0
    assert got["hmacfs_upload_size_bytes_sum", ()] == 1 << 50


def test_a_scrape_sums_the_processes_and_outlives_them() -> None:
    fd = metrics.create(3)
    collector = metrics.Collector(metrics.attach(fd), 3)

    def spawn(slot: int, rounds: int) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        command = [sys.executable, "-c", CHILD, str(fd), str(slot), str(rounds)]
        return children.running(command, pass_fds=[fd], env={"PYTHONPATH": SOURCE})

    with spawn(0, 1000) as one, spawn(2, 500) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0)
    with spawn(2, 10) as successor:  # of the second
        assert successor.wait(60) == 0
    os.close(fd)
    got = samples(collector)
    assert got["hmacfs_requests_total", (("code", "ok"), ("method", "GET"))] == 1510
    assert got["hmacfs_sent_bytes_total", ()] == 1510 << 30
    assert got["hmacfs_worker_starts_total", ()] == 3
    assert got["hmacfs_connections", ()] == 10
    assert got["hmacfs_commit_seconds_bucket", (("le", "0.005"),)] == 1510
    assert got["hmacfs_commit_seconds_bucket", (("le", "0.0025"),)] == 0


def test_the_memory_cannot_be_shrunk_under_a_worker() -> None:
    fd = metrics.create(1)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)
