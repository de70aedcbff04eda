"""Room on the disk for one file, taken before it is written to: in steps, the larger the more has come.

So an upload that comes slowly, or never says how much, holds little that others could use, and the margin is
kept all the same. Blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.policy import reservation

if TYPE_CHECKING:
    from hmacfs._descriptor import Descriptor
    from hmacfs.store.files import Tree


class Room:
    """What of an open file may be written to: all below `end`."""

    __slots__ = ("_file", "_min_free_bytes", "_most", "_start", "_tree", "end")

    def __init__(self, tree: Tree, file: Descriptor, *, start: int, most: int, min_free_bytes: int) -> None:
        """Take room in `file` from `start` on, never beyond `most`; leave `min_free_bytes` to others."""
        self._tree = tree
        self._file = file
        self._start = start
        self._most = most
        self._min_free_bytes = min_free_bytes
        self.end = start
        """Up to where it is taken."""

    def begin(self, length: int) -> None:
        """Take the first step for `length` bytes that are announced, all of which must find room now.

        Raises Refused DISK_FULL, and OSError.
        """
        self._take(min(length, reservation.FIRST_BYTES), 0, length)

    def take_all(self) -> None:
        """Take everything at once: for what the server itself is about to write. Raises as `begin`."""
        self._take(self._most - self.end, 0, 0)

    def reach(self, end: int) -> None:
        """See to it that the file may be written to up to `end`, and some way beyond. Raises as `begin`."""
        if end > self.end:
            self._take(end - self.end, reservation.ahead(end - self._start), 0)

    def _take(self, length: int, ahead: int, announced: int) -> None:
        """Take `length` bytes more, and of what lies `ahead` as much as there is.

        Refused unless `announced` bytes would find room as well.
        """
        spare_bytes = self._spare_bytes()
        if spare_bytes < max(length, announced):
            raise Refused(errors.DISK_FULL)
        start, end = self.end, self.end + length
        end = min(end + ahead, start + spare_bytes, max(self._most, end))
        length = end - start
        if reservation.must_reserve(length, spare_bytes - length):
            with self._file.use() as fd:
                self._tree.reserve(fd, length, start)
            # Once more, now that it is taken: others may have passed the first look at the same time.
            if self._spare_bytes() < 0:
                raise Refused(errors.DISK_FULL)
        self.end = end

    def _spare_bytes(self) -> int:
        with self._file.use() as fd:
            return self._tree.free_bytes(fd) - self._min_free_bytes
