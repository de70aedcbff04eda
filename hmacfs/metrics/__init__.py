"""Counting: one row of 64-bit integers per worker in shared memory, and what a scrape makes of them.

A worker counts with `CounterRow.add(column)`, one writer per row and so without locks. The supervisor sums
the rows when it is asked, so totals survive the death of a worker. Knows nothing of requests or replies: the
caller names the column, which is a name in `catalogue`.
"""

from hmacfs.metrics.collector import Collector, registry, render
from hmacfs.metrics.columns import Metric
from hmacfs.metrics.rows import CounterRow, attach, create, memory_bytes, slots_in

__all__ = [
    "Collector",
    "CounterRow",
    "Metric",
    "attach",
    "create",
    "memory_bytes",
    "registry",
    "render",
    "slots_in",
]
