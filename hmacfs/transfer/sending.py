"""A reply on its way out: pieces of memory and spans of a file, a turn at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from typing import TYPE_CHECKING, Final

from hmacfs import _core
from hmacfs.policy import buffers
from hmacfs.transfer.turns import WRITABLE
from hmacfs.transfer.warmth import Warmth

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.model import Plan, Reply, Span
    from hmacfs.transfer.turns import Turns

NO_FILE: Final = -1


class Sending:
    """One reply on its way to the client.

    Writes to the transport's socket directly: the transport is never given bytes to queue, so
    nothing can overtake.
    """

    __slots__ = (
        "_aside",
        "_before",
        "_budget",
        "_finished",
        "_flow",
        "_sock",
        "_stopped",
        "_turns",
        "_warmth",
        "_watched",
        "reply",
    )

    def __init__(  # noqa: PLR0913 - one call site; each is a different noun
        self,
        turns: Turns,
        sock: int,
        *,
        reply: Reply,
        pieces: tuple[bytes | Span, ...],
        plan: Plan,
        finished: Callable[[str], None],
        sent: int = 0,
    ) -> None:
        """Prepare to send `pieces`; `finished` is told "" or in a word why it failed.

        `sent` bytes of the reply went out before.
        """
        self._turns = turns
        self._sock = sock
        self._watched = False
        self._budget = plan.budget
        self._finished = finished
        self._stopped = False
        self._before = sent
        self._flow = _core.Outflow(sock, NO_FILE if reply.file is None else reply.file.fd, pieces)
        self._aside = False  # whether the lane reads what is to be sent next
        self._warmth = None if reply.file is None else Warmth.of(reply.file.fd, pieces)
        self.reply = reply

    @property
    def moved(self) -> int:
        """Bytes handed to the kernel so far, head included."""
        return self._before + self._flow.moved

    @property
    def arrived(self) -> int:
        """Bytes the client's side has acknowledged; tcp(7) SIOCOUTQ, unix(7)."""
        waiting = fcntl.ioctl(self._sock, termios.TIOCOUTQ, b"\0\0\0\0")
        return self.moved - int.from_bytes(waiting, "little")

    def run(self) -> None:
        """Send the first bytes at once, and see to it that the rest follows."""
        self.turn(self._budget)

    def turn(self, limit: int) -> int:
        """Send at most `limit` bytes; give how many."""
        if self._stopped or self._aside:
            return 0
        if self._warmth is not None:
            limit = self._warmth.ready(self._flow.moved, limit)
            if not limit:
                self._aside = True
                self._turns.lane.begin(self._warm_up(self._warmth))
                return 0
        before = self._flow.moved
        try:
            why = self._flow.step(limit)
            if why == _core.WAIT and not self._watched:
                self._turns.watch(self._sock, self, WRITABLE)
                self._watched = True
        except OSError as error:
            # EIO of the file's disk cannot be answered any more: the head is out.
            self._end("storage_failed" if error.errno == errno.EIO else "client_gone")
        else:
            if why == _core.DONE:
                self._end("")
            elif why == _core.ENDED:
                self._end("file_shrunk")
            elif why == _core.BUDGET:
                self._turns.again(self)
        return self._flow.moved - before

    async def _warm_up(self, warmth: Warmth) -> None:
        """Have the next part of the file read by a thread, which may wait for the disk."""
        lane = self._turns.lane
        async with lane.lend(lambda: buffers.MOST_LENT_BYTES) as slab:
            if not self._stopped:
                await warmth.grow(self._flow.moved, slab, lane)
        self._aside = False
        if not self._stopped:
            self._turns.again(self)

    def abort(self, why: str) -> None:
        """Stop where it is: the client is gone, stalled, or the server must end."""
        if not self._stopped:
            self._end(why)

    def _end(self, why: str) -> None:
        self._stopped = True
        self._turns.leave(self._sock)
        if self.reply.file is not None:
            os.close(self.reply.file.fd)
        self._finished(why)
