"""Rows of counters in shared memory: one per worker slot, one writer each, no locks.

Knows a column as a number only. The memory is a header of one cache line that names the layout, then the
rows, each on cache lines of its own so that workers do not slow each other down.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import zlib
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from hmacfs.metrics.catalogue import COLUMNS, GAUGES

if TYPE_CHECKING:
    from hmacfs.metrics.columns import Histogram, Mean

CELL_BYTES: Final = 8
LINE_BYTES: Final = 64
HEADER_BYTES: Final = LINE_BYTES
# A mean's two sums are kept in millionths, so that a rare one loses nothing that could be seen.
MILLIONTHS: Final = 1_000_000
ROW_BYTES: Final = -(-len(COLUMNS) * CELL_BYTES // LINE_BYTES) * LINE_BYTES

# Never 0, which is what fresh memory holds.
LAYOUT: Final = zlib.crc32(repr(COLUMNS).encode()) + 1


def memory_bytes(slots: int) -> int:
    """Return the size of the shared memory for `slots` rows."""
    return HEADER_BYTES + slots * ROW_BYTES


def create(slots: int) -> int:
    """Make the shared memory, all zero, and give its file descriptor; raises OSError.

    Its size is sealed, so that no process can make another one's access a SIGBUS (memfd_create(2)).
    """
    fd = os.memfd_create("hmacfs-metrics", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, memory_bytes(slots))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        raise
    return fd


def attach(fd: int) -> memoryview:
    """Map what `create` made; the map stays when `fd` is closed. Raises OSError."""
    return memoryview(mmap.mmap(fd, 0))


def slots_in(buffer: memoryview) -> int:
    """Return the number of rows that `buffer` holds."""
    return (buffer.nbytes - HEADER_BYTES) // ROW_BYTES


def cells_of(buffer: memoryview, slot: int) -> memoryview:
    """Return row `slot` as signed 64-bit integers.

    Raises ValueError if there is no such row, or if the memory was laid out by another release: the
    package may be replaced under a running supervisor, whose next worker then must not count into wrong
    columns.
    """
    if not 0 <= slot < slots_in(buffer):
        raise ValueError(f"no row {slot} among {slots_in(buffer)}")
    flat = buffer.cast("B")
    header = flat[:CELL_BYTES].cast("q")
    if header[0] not in {0, LAYOUT}:
        raise ValueError("the counters were laid out by another release")
    header[0] = LAYOUT
    start = HEADER_BYTES + slot * ROW_BYTES
    return flat[start : start + len(COLUMNS) * CELL_BYTES].cast("q")


class CounterRow:
    """One slot's counters. Only one thread of one process writes to it: the worker's event loop.

    An aligned 64-bit integer is read and written whole on the machines this runs on, so a scrape sees
    each counter before or after an addition, never between.
    """

    __slots__ = ("_cells",)

    def __init__(self, buffer: memoryview, slot: int) -> None:
        """Take row `slot` of `buffer`; raises ValueError as `cells_of` does."""
        self._cells = cells_of(buffer, slot)

    @property
    def cells(self) -> memoryview:
        """The row itself, for the compiled answers, which count on the same thread."""
        return self._cells

    def add(self, column: int, n: int = 1) -> None:
        """Add `n`, which is negative only for a gauge."""
        self._cells[column] += n

    def set(self, column: int, n: int) -> None:
        """Make the column `n`."""
        self._cells[column] = n

    def read(self, column: int) -> int:
        """Return the column's number; any process may ask, the supervisor does for heartbeats."""
        return self._cells[column]

    def observe(self, histogram: Histogram, value: float) -> None:
        """Count `value`, in the histogram's unit."""
        cells = self._cells
        cells[histogram.first + bisect_left(histogram.bounds, value)] += 1
        cells[histogram.sum] += int(value * histogram.scale)

    def set_mean(self, mean: Mean, total: float, weight: float) -> None:
        """Make the mean what `weight` things that add up to `total` have; none with 0."""
        self._cells[mean.total] = int(total * MILLIONTHS)
        self._cells[mean.weight] = int(weight * MILLIONTHS)

    def reset_gauges(self) -> None:
        """Forget the state of the worker before; called as one starts, or for a slot left empty."""
        for column in GAUGES:
            self._cells[column] = 0
