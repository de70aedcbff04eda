"""What one finished request adds to the counters: the only place that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.metrics import catalogue
from hmacfs.model import BODY_METHODS, KiB

if TYPE_CHECKING:
    from hmacfs.metrics.columns import Histogram
    from hmacfs.metrics.rows import CounterRow

FIRST_ERROR: Final = 400
SENDING: Final = frozenset({"GET", "HEAD"})
# Below it a transfer's time is that of a round trip. `_hot`, which observes no rate, sends no more at once.
RATED_FROM_BYTES: Final = 256 * KiB


def request(  # noqa: PLR0913 - each is a different fact of the request
    row: CounterRow,
    *,
    method: str,
    status: int,
    code: str,
    dialect: str,
    received: int,
    stored: int,
    sent: int,
    elapsed_s: float,
    broken: str,
) -> None:
    """Count a request whose reply is out, or never will be (`broken` says why, "" if it is out).

    `received` and `sent` are bytes on the wire, heads included; `stored` is the body's part of what
    was received.
    """
    row.add(catalogue.REQUESTS[method, code])
    row.add(catalogue.RECEIVED_BYTES, received)
    row.add(catalogue.SENT_BYTES, sent)
    failed = status >= FIRST_ERROR or bool(broken)
    if method in SENDING:
        if failed:
            row.add(catalogue.DOWNLOAD_ERRORS[broken or code])
        else:
            row.observe(catalogue.DOWNLOAD_LATENCY, elapsed_s)
            _rate(row, catalogue.DOWNLOAD_THROUGHPUT, sent, elapsed_s)
        if code == "partial":
            row.add(catalogue.RANGE_REQUESTS)
    elif method in BODY_METHODS:
        if status >= FIRST_ERROR:
            row.add(catalogue.UPLOAD_ERRORS[code])
        else:
            if dialect not in catalogue.RESUMABLE:  # whoever completes one of these counts it
                row.add(catalogue.UPLOADS[dialect])
            row.observe(catalogue.UPLOAD_LATENCY, elapsed_s)
            row.observe(catalogue.UPLOAD_SIZE, stored)
            _rate(row, catalogue.UPLOAD_THROUGHPUT, stored, elapsed_s)


def _rate(row: CounterRow, histogram: Histogram, size: int, elapsed_s: float) -> None:
    """Observe a transfer's rate if it is large enough to have one; a coarse clock may have stood still."""
    if size >= RATED_FROM_BYTES and elapsed_s > 0:
        row.observe(histogram, size / elapsed_s)
