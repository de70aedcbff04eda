"""Whose turn it is: large transfers move some bytes each and then wait until others were served.

One `Scheduler` for each worker. It watches the sockets of transfers with an epoll of its own, since uvloop
refuses to watch a transport's socket twice; edge-triggered, so that a transfer which waits for its turn
wakes nobody.
"""

from __future__ import annotations

import contextlib
import select
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import _core
from hmacfs.policy import buffers
from hmacfs.policy.read_threshold import AT_ONCE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sized

    from hmacfs._descriptor import Descriptor
    from hmacfs.transfer.buffer_tuner import BufferTuner
    from hmacfs.transfer.disk_threads import DiskThreads

READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
WRITABLE: Final = select.EPOLLOUT | select.EPOLLET


class Transfer(Protocol):
    """A transfer that takes turns."""

    def turn(self, limit: int) -> int:
        """Move at most `limit` bytes and give how many; `Scheduler.again` if more could be moved at once."""

    def fail(self, error: Exception) -> None:
        """End for good: a turn has raised, and what it was moving may be lost."""


class Scheduler:
    """The queue of one worker's large transfers."""

    __slots__ = (
        "_connections",
        "_deferred",
        "_due",
        "_epoll",
        "_movers",
        "_queue",
        "_queued",
        "_silent",
        "disk_threads",
        "loop",
        "slab",
        "tuner",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: Sized,
        *,
        slab: _core.Slab,
        disk_threads: DiskThreads,
        tuner: BufferTuner,
    ) -> None:
        """Share `loop` with the `connections` of the worker.

        One turn at a time may use `slab`; what the disk delays goes to `disk_threads`. `tuner` knows how much
        of the slab a transfer should use.
        """
        self.loop = loop
        self.slab = slab
        self.disk_threads = disk_threads
        self.tuner = tuner
        self._connections = connections
        self._epoll = select.epoll()
        self._movers: dict[int, Transfer] = {}
        self._deferred: dict[Descriptor, int] = {}  # sockets not ready before so many bytes have come
        self._silent: dict[int, Descriptor] = {}  # those of them that were not ready since `rouse`, by number
        self._queue: deque[Transfer] = deque()
        self._queued: set[Transfer] = set()
        self._due = False  # whether `_run` comes in this iteration of the loop or the next
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def close(self) -> None:
        """Watch no more."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def register(self, sock: Descriptor, mover: Transfer, events: int) -> None:
        """Give `mover` a turn now and whenever `sock` becomes ready. Raises OSError: no memory for it."""
        number = sock.fileno()
        self._epoll.register(number, events)
        self._movers[number] = mover

    def unregister(self, sock: Descriptor) -> None:
        """Watch `sock`, which is still open, no more; nothing happens if it was not watched."""
        number = sock.fileno()
        if self._movers.pop(number, None) is not None:
            self._epoll.unregister(number)
            self.wake_from(sock, AT_ONCE)  # what comes next may be short

    def wakes_from(self, sock: Descriptor) -> int:
        """Return from how many bytes on `sock` counts as ready."""
        return self._deferred.get(sock, AT_ONCE)

    def wake_from(self, sock: Descriptor, count: int) -> None:
        """Give no turn before `count` bytes have come on `sock`, no more can, or `rouse` is called twice."""
        if count == self.wakes_from(sock):
            return
        if count == AT_ONCE:
            del self._deferred[sock]
            self._silent.pop(sock.fileno(), None)
        else:
            self._deferred[sock] = count
        with contextlib.suppress(OSError):  # a broken connection counts as ready anyhow
            _core.set_rcvlowat(sock, count)

    def wake_stalled(self) -> None:
        """Give a turn to what has waited for more bytes since the last call; called by the worker's tick.

        So a client that has become slow is seen to send, and one that fell silent leaves little unread.
        """
        for sock in tuple(self._silent.values()):
            self.wake_from(sock, AT_ONCE)
        self._silent = {sock.fileno(): sock for sock in self._deferred}

    def reschedule(self, mover: Transfer) -> None:
        """Give `mover` one more turn, after all that wait already."""
        self._append(mover)
        if not self._due:
            self._due = True
            self.loop.call_soon(self._run)

    def _append(self, mover: Transfer) -> None:
        if mover not in self._queued:
            self._queued.add(mover)
            self._queue.append(mover)

    def _on_ready(self) -> None:
        for number, _ in self._epoll.poll(0):
            self._silent.pop(number, None)
            if (mover := self._movers.get(number)) is not None:
                self._append(mover)
        if self._queue and not self._due:
            self._run()

    @staticmethod
    def _move(mover: Transfer, limit: int) -> int:
        """Return `mover` its turn; one that fails never gets another."""
        try:
            return mover.turn(limit)
        except Exception as error:  # noqa: BLE001 - the border: the others must get their turns
            mover.fail(error)
            return 0

    def _run(self) -> None:
        """Move what one iteration of the loop may move, each in its turn."""
        self._due = True  # or `again` would schedule one for itself
        left = buffers.for_iteration(len(self._movers), len(self._connections))
        try:
            while self._queue and left > 0:
                mover = self._queue.popleft()
                self._queued.discard(mover)
                left -= self._move(mover, left)
        finally:
            self._due = bool(self._queue)
            if self._due:
                self.loop.call_soon(self._run)
