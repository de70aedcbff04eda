"""Roughly who has uploads under way to which places, in memory that all workers share.

One row of counters per worker, which it alone writes; a place counts in one cell. A cell that is not empty
may stand for other places: its worker must be asked. An empty one is certain.
"""

from __future__ import annotations

import mmap
import os
import zlib
from typing import Final

# Of 40 uploads under way at each other worker about one question in 100 is asked in vain.
CELLS: Final = 4096
_CELL_BYTES: Final = 4
_ROW_BYTES: Final = CELLS * _CELL_BYTES


def create(slots: int) -> int:
    """Make an empty table for so many workers; give its descriptor. Raises OSError."""
    fd = os.memfd_create("hmacfs-presence", os.MFD_CLOEXEC)
    os.truncate(fd, slots * _ROW_BYTES)
    return fd


class PresenceTable:
    """The table as the worker in one slot sees it."""

    def __init__(self, fd: int, slot: int) -> None:
        """Own `fd`, and clear the row of `slot`: whoever was there before has nothing under way any more."""
        memory = memoryview(mmap.mmap(fd, 0))
        os.close(fd)
        rows = [memory[at : at + _ROW_BYTES] for at in range(0, len(memory), _ROW_BYTES)]
        rows[slot][:] = bytes(_ROW_BYTES)
        self._rows = [row.cast("I") for row in rows]
        self._slot = slot

    def count(self, key: str, more: int) -> None:
        """Note `more` uploads to this place here; -1 for one that is over."""
        self._rows[self._slot][_cell(key)] += more

    def others(self, key: str) -> list[int]:
        """Return the slots of the other workers that may have an upload to this place."""
        cell = _cell(key)
        return [slot for slot, row in enumerate(self._rows) if row[cell] and slot != self._slot]


def _cell(key: str) -> int:
    return zlib.crc32(key.encode()) % CELLS
