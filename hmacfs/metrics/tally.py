"""What one finished request adds to the counters: the only place that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.metrics import catalogue
from hmacfs.model import BODY_METHODS, READ_METHODS, KiB

if TYPE_CHECKING:
    from hmacfs.metrics.columns import Histogram
    from hmacfs.metrics.rows import CounterRow
    from hmacfs.model import FinishedRequest

FIRST_ERROR: Final = 400
# Below it a transfer's time is that of a round trip. `_hot`, which observes no rate, sends no more at once.
RATED_FROM_BYTES: Final = 256 * KiB


def request(row: CounterRow, finished: FinishedRequest) -> None:
    """Count a request."""
    status, code = finished.status, finished.code
    row.add(catalogue.REQUESTS[finished.method, code])
    row.add(catalogue.RECEIVED_BYTES, finished.received)
    row.add(catalogue.SENT_BYTES, finished.sent)
    if finished.method in READ_METHODS:
        if status >= FIRST_ERROR or finished.broken:
            row.add(catalogue.DOWNLOAD_ERRORS[finished.broken or code])
        else:
            row.observe(catalogue.DOWNLOAD_LATENCY, finished.elapsed_s)
            _rate(row, catalogue.DOWNLOAD_THROUGHPUT, finished.sent, finished.elapsed_s)
        if code == "partial":
            row.add(catalogue.RANGE_REQUESTS)
    elif finished.method in BODY_METHODS:
        if status >= FIRST_ERROR:
            row.add(catalogue.UPLOAD_ERRORS[code])
        else:
            if finished.dialect not in catalogue.RESUMABLE:  # what completes one of these counts it
                row.add(catalogue.UPLOADS[finished.dialect])
            row.observe(catalogue.UPLOAD_LATENCY, finished.elapsed_s)
            row.observe(catalogue.UPLOAD_SIZE, finished.stored)
            _rate(row, catalogue.UPLOAD_THROUGHPUT, finished.stored, finished.elapsed_s)


def _rate(row: CounterRow, histogram: Histogram, size: int, elapsed_s: float) -> None:
    """Observe a transfer's rate if it is large enough to have one; a coarse clock may have stood still."""
    if size >= RATED_FROM_BYTES and elapsed_s > 0:
        row.observe(histogram, size / elapsed_s)
