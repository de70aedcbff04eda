"""How much of a file is in memory, so that sending it makes nobody wait for the disk."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from hmacfs import _core
from hmacfs.model import Span
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from hmacfs._descriptor import Descriptor
    from hmacfs.transfer.disk_threads import DiskThreads


class PageCache:
    """What is known of the one span of a file that a reply sends."""

    __slots__ = ("_before", "_file", "_span", "_until")

    def __init__(self, file: Descriptor, span: Span, before: int) -> None:
        """Look after `span` of `file`, which follows the reply's first `before` bytes."""
        self._file = file
        self._span = span
        self._before = before
        self._until = span.start  # up to here it has been seen in memory, or read into it

    @classmethod
    def of(cls, file: Descriptor, pieces: tuple[bytes | Span, ...]) -> PageCache | None:
        """Return that of a reply of a head and one large span; None for others, which are not worth it."""
        if len(pieces) != 2:  # noqa: PLR2004 - a head and a span
            return None
        head, span = pieces
        if not isinstance(head, bytes) or not isinstance(span, Span):
            return None
        return cls(file, span, len(head)) if span.length >= buffers.COLD_FROM_BYTES else None

    def cached_bytes(self, moved: int, limit: int) -> int:
        """Return how many of the next `limit` bytes of a reply, `moved` of which are sent, are in memory."""
        start = self._next(moved)
        if min(start + limit, self._span.stop) <= self._until:
            return limit
        for length in (buffers.WARM_WINDOW_BYTES, limit):
            stop = min(start + length, self._span.stop)
            if _core.is_cached(self._file, start, stop - start):
                self._until = stop
                return limit
        return max(self._until - start, 0)

    async def read_ahead(self, moved: int, slab: _core.Slab, disk_threads: DiskThreads) -> None:
        """Have the next bytes read into memory by a thread of `disk_threads`."""
        start = self._next(moved)
        length = min(slab.size, self._span.stop - start)
        with contextlib.suppress(OSError):  # which the sender will meet
            await disk_threads.run(_read, self._file, memoryview(slab)[:length], start)
        self._until = start + length

    def _next(self, moved: int) -> int:
        return self._span.start + max(moved - self._before, 0)


def _read(file: Descriptor, into: memoryview, start: int) -> None:
    """Read ahead on a thread; the reply may be given up meanwhile, or may have been already."""
    with contextlib.suppress(ValueError), file.use() as number:
        os.posix_fadvise(number, start, buffers.AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        os.preadv(number, [into], start)
