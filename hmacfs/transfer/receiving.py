"""A large body of known length on its way in: read from the socket here and not by the transport.

The transport would offer what has come, a read at a time, and need to be paused and resumed for each turn.
Here one turn reads until the socket is empty or the turn is used up.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from hmacfs import _core
from hmacfs.errors import Refused
from hmacfs.policy import buffers
from hmacfs.transfer.turns import READABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.transfer.bodies import FileSink
    from hmacfs.transfer.turns import Turns


class Broken(enum.Enum):
    """Why no more of a body comes, if it is not refused."""

    ENDED = enum.auto()  # the client sends no more, but may read
    LOST = enum.auto()  # the connection is gone


class Receiving:
    """One body; never reads beyond its end, where the next request begins."""

    __slots__ = (
        "_advanced",
        "_aside",
        "_came",
        "_finished",
        "_first",
        "_lane",
        "_left",
        "_missed",
        "_sink",
        "_sock",
        "_stopped",
        "_turns",
        "_view",
    )

    def __init__(  # noqa: PLR0913 - one call site; each is a different noun
        self,
        turns: Turns,
        sock: int,
        *,
        sink: FileSink,
        first: bytes,
        left: int,
        advanced: Callable[[int], None],
        finished: Callable[[Refused | Broken | None], None],
    ) -> None:
        """Move `left` bytes into `sink`: the `first` of them, and the others from `sock`.

        `advanced` is told of bytes as they are stored, `finished` once why it is over: None if it is
        whole. Raises OSError if the socket cannot be watched.
        """
        self._turns = turns
        self._lane = turns.lane
        self._sock = sock
        self._sink = sink
        self._first = first
        self._view = memoryview(turns.slab)
        self._left = left
        self._advanced = advanced
        self._finished = finished
        self._stopped = False
        self._aside = False  # whether the lane is at it
        self._missed = False  # whether a turn came meanwhile
        self._came = 0  # bytes that the lane found at its last look
        turns.watch(sock, self, READABLE)
        if first:
            turns.again(self)

    @property
    def waits_for_disk(self) -> bool:
        """Whether the client could do nothing to speed it up."""
        return self._aside

    def turn(self, limit: int) -> int:
        """Receive at most about `limit` bytes; give how many."""
        moved = 0
        while not self._stopped and moved < limit:
            if self._aside:
                self._missed = True
                return moved
            if self._lane.slow:
                self._aside = True
                self._lane.begin(self._step_aside())
                return moved
            data, why = self._draw(self._turns.slab, limit - moved)
            count = self._store(data)
            moved += count
            if self._settle(count, why):
                return moved
        if not self._stopped:
            self._turns.again(self)
        return moved

    def abort(self) -> None:
        """Read no more; `finished` is not told."""
        if not self._stopped:
            self._stopped = True
            self._turns.leave(self._sock)

    def _draw(self, slab: _core.Slab, limit: int) -> tuple[memoryview, int]:
        """Give the next bytes, which lie in `slab`, and why they are no more."""
        if self._first:
            first, self._first = self._first, b""
            return memoryview(first), _core.DONE
        want = min(self._left, limit, buffers.to_boundary(self._sink.moved, slab.size))
        try:
            got, why = _core.draw(self._sock, slab, want)
        except OSError:
            self._end(Broken.LOST)
            return memoryview(b""), _core.ENDED
        return memoryview(slab)[:got], why

    def _store(self, data: memoryview) -> int:
        """Write what can be written quickly; the rest is kept for the lane."""
        if not data:
            return 0
        count = 0
        try:
            count = self._sink.take_quickly(data)
        except Refused as broken:
            self._end(broken)
        else:
            self._first = bytes(data[count:])
        self._lane.note(self._sink.waited_s)
        return count

    async def _store_aside(self, data: memoryview) -> None:
        try:
            await self._lane.store(self._sink, self._sink.take, data)
        except Refused as broken:
            self._end(broken)

    def _settle(self, count: int, why: int) -> bool:
        """Note that `count` bytes are stored; give whether nothing is left to do in this turn."""
        if self._stopped:
            return True
        self._left -= count
        self._advanced(count)
        if self._first:
            return False
        if not self._left:
            self._end(None)
        elif why == _core.ENDED:
            self._end(Broken.ENDED)
        return self._stopped or why == _core.WAIT

    async def _step_aside(self) -> None:
        """Receive what fits into one slab, and write it on a thread."""
        count, why = 0, _core.DONE
        async with self._lane.lend(buffers.slab_for(self._left, self._came)) as slab:
            if not self._stopped:
                data, why = self._draw(slab, slab.size)
                self._came = count = len(data)
                if data:
                    await self._store_aside(data)
        self._aside = False
        missed, self._missed = self._missed, False
        if not self._settle(count, why) or (missed and not self._stopped):
            self._turns.again(self)

    def _end(self, broken: Refused | Broken | None) -> None:
        if not self._stopped:
            self.abort()
            self._finished(broken)
