"""A large body of known length on its way in: read from the socket here and not by the transport.

The transport would offer what has come, a read at a time, and need to be paused and resumed for each turn.
Here one turn reads until the socket is empty or the turn is used up.
"""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING, Protocol

from hmacfs import _core
from hmacfs.errors import Refused
from hmacfs.policy import buffers, read_threshold
from hmacfs.transfer.scheduler import READABLE

if TYPE_CHECKING:
    from hmacfs._descriptor import Descriptor
    from hmacfs.transfer.scheduler import Scheduler
    from hmacfs.transfer.sinks import FileSink


class Broken(enum.Enum):
    """Why no more of a body comes, if it is not refused."""

    ENDED = enum.auto()  # the client sends no more, but may read
    LOST = enum.auto()  # the connection is gone


class IncomingBody(Protocol):
    """The body that is received, and what is told of its way."""

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""

    @property
    def rate(self) -> float | None:
        """What the client usually sends, in bytes per second; None if that is not known."""

    def advance(self, count: int) -> None:
        """Note that `count` bytes are stored."""

    def transferred(self, broken: Exception | Broken | None) -> None:
        """Note that it is over; told once: None if all has come, or why no more does."""


class BodyTransfer:
    """One body; never reads beyond its end, where the next request begins."""

    __slots__ = (
        "_aside",
        "_asked",
        "_began",
        "_body",
        "_disk_threads",
        "_filling",
        "_first",
        "_left",
        "_looked",
        "_missed",
        "_received",
        "_scheduler",
        "_sink",
        "_sock",
        "_stopped",
        "_tuner",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        sock: Descriptor,
        body: IncomingBody,
        sink: FileSink,
        first: bytes,
    ) -> None:
        """Move `body` into `sink`: the `first` of its bytes, and the others from `sock`.

        Raises OSError if the socket cannot be watched.
        """
        self._scheduler = scheduler
        self._disk_threads = scheduler.disk_threads
        self._tuner = scheduler.tuner
        self._sock = sock
        self._body = body
        self._sink = sink
        self._first = first
        self._left = body.left
        self._stopped = False
        self._aside = False  # whether a thread is at it
        self._missed = False  # whether a turn came meanwhile
        self._filling = scheduler.tuner.begin(body.left, body.rate)
        self._asked = 0  # bytes that would have fitted into what was read with
        self._received = 0  # those that came
        self._began = self._looked = scheduler.loop.time()
        scheduler.register(sock, self, READABLE)
        if first:
            scheduler.reschedule(self)

    @property
    def waits_for_disk(self) -> bool:
        """Whether the client could do nothing to speed it up."""
        return self._aside

    def turn(self, limit: int) -> int:
        """Receive at most about `limit` bytes; give how many."""
        if self._stopped:
            return 0
        if self._aside:
            self._missed = True
            return 0
        if self._disk_threads.slow:
            self._step_aside()
            return 0
        # What is read is stored before anybody else has the slab, so a slow client costs no memory by it.
        top = self._tuner.top
        tells = self._filling.size >= top  # whether it is fast enough to tell what that class costs
        began_ns = time.thread_time_ns() if tells else 0
        moved, dry = self._move(top, limit)
        if tells:
            self._tuner.record_cost(top, moved, time.thread_time_ns() - began_ns)
        self._look(moved, self._left, dry=dry)
        return moved

    def fail(self, error: Exception) -> None:
        """End for good: what a turn had read when it raised is lost."""
        self._end(error)

    def abort(self) -> None:
        """Read no more; the body is not told. A thread may still store what it has: `BodySink.storing`."""
        if not self._stopped:
            self._stopped = True
            self._scheduler.unregister(self._sock)
            self._tuner.end(self._received, self._asked, self._scheduler.loop.time() - self._began)

    def _move(self, size: int, limit: int) -> tuple[int, bool]:
        """Receive at most about `limit` bytes, `size` at a time; give how many, and if that was all."""
        moved = 0
        try:
            # Before the first read: what was read and may not be stored yet would have to be kept.
            with self._sink.guard(1, wait=False) as now:
                # No more is read than has room, or each of many uploads would keep what it had read too much.
                while now and moved < limit and not self._disk_threads.slow and (fits := self._sink.fits):
                    data, why = self._draw(self._scheduler.slab, size, min(limit - moved, fits))
                    count = self._store(data)
                    moved += count
                    if self._settle(count, why):
                        return moved, why == _core.WAIT
                    if self._first:  # the disk is slow, or room must be taken
                        break
        except Refused as broken:  # somebody has taken over
            self._end(broken)
            return moved, False
        if now and not self._first:
            self._scheduler.reschedule(self)
        else:  # the lock may be held for as long as a flush takes
            self._step_aside()
        return moved, False

    def _draw(self, slab: _core.Slab, size: int, limit: int) -> tuple[memoryview, int]:
        """Return the next bytes, which lie in `slab`, and why they are no more."""
        if self._first:
            first, self._first = self._first, b""
            return memoryview(first), _core.DONE
        want = min(self._left, limit, size, slab.size)
        try:
            got, why = _core.recv_into(self._sock, slab, want)
        except OSError:
            self._end(Broken.LOST)
            return memoryview(b""), _core.ENDED
        self._asked += want
        self._received += got
        return memoryview(slab)[:got], why

    def _store(self, data: memoryview) -> int:
        """Write what can be written quickly; the rest is kept for a thread."""
        if not data:
            return 0
        count = 0
        try:
            count = self._sink.take_quickly(data)
        except Refused as broken:
            self._end(broken)
        else:
            self._first = bytes(data[count:])
        self._disk_threads.note(self._sink.waited_s)
        return count

    def _settle(self, count: int, why: int) -> bool:
        """Note that `count` bytes are stored; give whether nothing is left to do in this turn."""
        if self._stopped:
            return True
        self._left -= count
        self._body.advance(count)
        if self._first:
            return False
        if not self._left:
            self._end(None)
        elif why == _core.ENDED:
            self._end(Broken.ENDED)
        return self._stopped or why == _core.WAIT

    def _look(self, came: int, left: int, *, dry: bool) -> None:
        """Follow the client after a look that found `came` bytes; `dry` if there were no more, of `left`."""
        self._filling = self._tuner.look(self._filling, came, dry=dry)
        now = self._scheduler.loop.time()
        if dry and came and not self._stopped:
            wakes_from = read_threshold.updated(
                self._scheduler.wakes_from(self._sock),
                came,
                now - self._looked,
                received=self._received,
                left=left,
            )
            self._scheduler.wake_from(self._sock, wakes_from)
        self._looked = now

    def _step_aside(self) -> None:
        """Leave the next bytes to a thread."""
        self._aside = True
        self._disk_threads.begin(self._receive_aside())

    async def _receive_aside(self) -> None:
        """Receive what fits into one slab, and write it on a thread."""
        count, why = 0, _core.DONE
        try:
            async with self._disk_threads.lend(self._to_hold) as slab:
                if not self._stopped:
                    data, why = self._draw(slab, slab.size, slab.size)
                    count = len(data)
                    self._look(count, self._left - count, dry=why == _core.WAIT)
                    if data:
                        await self._disk_threads.store(self._sink, self._sink.take, data)
        except Exception as error:  # noqa: BLE001 - the border: told to whoever waits for the body
            self._end(error)
        self._aside = False
        missed, self._missed = self._missed, False
        if not self._settle(count, why) or (missed and not self._stopped):
            self._scheduler.reschedule(self)

    def _to_hold(self) -> int:
        """Return the class of the slab for what has come; no larger, since the disk may hold it for long."""
        try:
            has_come = len(self._first) or _core.unread_bytes(self._sock)
        except OSError:  # which reading will find too
            has_come = 0
        size = min(self._filling.size, buffers.MOST_LENT_BYTES)
        return min(size, self._tuner.classes.fit(min(self._left, has_come)))

    def _end(self, broken: Exception | Broken | None) -> None:
        if not self._stopped:
            self.abort()
            self._body.transferred(broken)
