"""A reply on its way out: pieces of memory and spans of a file, a turn at a time."""

from __future__ import annotations

import abc
import errno
import fcntl
import os
import socket
import struct
import termios
from typing import TYPE_CHECKING, Final

from hmacfs import _core
from hmacfs.model import Span
from hmacfs.policy import buffers
from hmacfs.transfer.page_cache import PageCache
from hmacfs.transfer.scheduler import WRITABLE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import Plan, Reply
    from hmacfs.transfer.scheduler import Scheduler

NO_FILE: Final = -1
# Where tcpi_bytes_acked lies in struct tcp_info; linux/tcp.h.
_ACKED: Final = struct.Struct("=120xQ")


class ReplyTransfer(abc.ABC):
    """One reply on its way to the client: it owns the reply's file, and closes it at its one end."""

    __slots__ = ("_aside", "_budget", "_finished", "_pages", "_scheduler", "_stopped", "error", "reply")

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        reply: Reply,
        pieces: tuple[bytes | Span, ...],
        budget: int,
        finished: Callable[[str], None],
    ) -> None:
        """Prepare to send `pieces`, at most `budget` bytes a turn; `finished` is told "" or why it failed."""
        self._scheduler = scheduler
        self._budget = budget
        self._finished = finished
        self._stopped = False
        self._aside = False  # whether a thread reads what is to be sent next
        self._pages = None if reply.file is None else PageCache.of(reply.file.descriptor, pieces)
        self.reply = reply
        self.error: Exception | None = None
        """The fault of ours that has ended it."""

    @property
    @abc.abstractmethod
    def moved(self) -> int:
        """Bytes given away so far, head included."""

    @property
    @abc.abstractmethod
    def arrived(self) -> int:
        """Bytes that the client's side has acknowledged."""

    @abc.abstractmethod
    def _send(self, limit: int) -> None:
        """Send at most `limit` bytes, and see to it that the next turn comes, or end."""

    def run(self) -> None:
        """Send the first bytes at once, and see to it that the rest follows."""
        self.turn(self._budget)

    def turn(self, limit: int) -> int:
        """Send at most `limit` bytes; give how many."""
        if self._stopped or self._aside:
            return 0
        if self._pages is not None:
            limit = self._pages.cached_bytes(self.moved, limit)
            if not limit:
                self._aside = True
                self._scheduler.disk_threads.begin(self._warm_up(self._pages))
                return 0
        before = self.moved
        self._send(limit)
        return self.moved - before

    async def _warm_up(self, pages: PageCache) -> None:
        """Have the next part of the file read by a thread, which may wait for the disk."""
        disk_threads = self._scheduler.disk_threads
        try:
            async with disk_threads.lend(lambda: buffers.MOST_LENT_BYTES) as slab:
                if not self._stopped:
                    await pages.read_ahead(self.moved, slab, disk_threads)
        except Exception as error:  # noqa: BLE001 - the border: nothing else would end the reply
            self.fail(error)
        self._aside = False
        if not self._stopped:
            self._scheduler.reschedule(self)

    def fail(self, error: Exception) -> None:
        """End for good: a fault of ours."""
        if not self._stopped:
            self.error = error
            self._end("internal")

    def abort(self, why: str) -> None:
        """Stop where it is: the client is gone, stalled, or the server must end."""
        if not self._stopped:
            self._end(why)

    def _end(self, why: str) -> None:
        self._stopped = True
        if self.reply.file is not None:
            self.reply.file.descriptor.close()
        self._finished(why)


class PlainReplyTransfer(ReplyTransfer):
    """A reply over a plain socket.

    Writes to the transport's socket directly: the transport is never given bytes to queue, so
    nothing can overtake.
    """

    __slots__ = ("_before", "_flow", "_sock", "_watched")

    def __init__(  # noqa: PLR0913 - one call site; each is a different noun
        self,
        scheduler: Scheduler,
        sock: Descriptor,
        *,
        reply: Reply,
        pieces: tuple[bytes | Span, ...],
        plan: Plan,
        finished: Callable[[str], None],
        sent: int = 0,
    ) -> None:
        """Prepare to send `pieces`; `sent` bytes of the reply went out before."""
        super().__init__(scheduler, reply=reply, pieces=pieces, budget=plan.budget, finished=finished)
        self._sock = sock
        self._watched = False
        self._before = sent
        self._flow = _core.PieceSender(sock, None if reply.file is None else reply.file.descriptor, pieces)

    @property
    def moved(self) -> int:
        """Bytes handed to the kernel so far, head included."""
        return self._before + self._flow.moved

    @property
    def arrived(self) -> int:
        """Bytes the client's side has acknowledged; tcp(7) SIOCOUTQ, unix(7)."""
        waiting = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        return self.moved - int.from_bytes(waiting, "little")

    def _send(self, limit: int) -> None:
        try:
            why = self._flow.step(limit)
            if why == _core.WAIT and not self._watched:
                self._scheduler.register(self._sock, self, WRITABLE)
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
                self._scheduler.reschedule(self)

    def _end(self, why: str) -> None:
        self._scheduler.unregister(self._sock)
        super()._end(why)


class TlsReplyTransfer(ReplyTransfer):
    """A reply through a transport that encrypts.

    Each turn's bytes are given away for good: the transport may keep them for as long as OpenSSL takes none
    (SSL_write(3), SSL_ERROR_WANT_READ), so nothing is lent to it.
    """

    __slots__ = (
        "_acked",
        "_at",
        "_current",
        "_is_full",
        "_moved",
        "_pieces",
        "_sock",
        "_transport",
        "_waiting",
    )

    def __init__(  # noqa: PLR0913 - one call site; each is a different noun
        self,
        scheduler: Scheduler,
        sock: socket.socket,
        transport: asyncio.WriteTransport,
        is_full: Callable[[], bool],
        *,
        reply: Reply,
        pieces: tuple[bytes | Span, ...],
        plan: Plan,
        finished: Callable[[str], None],
    ) -> None:
        """Prepare to give `pieces` to `transport` whenever not `is_full`; `sock` tells what has arrived."""
        budget = min(plan.budget, buffers.TLS_TURN_BYTES)
        super().__init__(scheduler, reply=reply, pieces=pieces, budget=budget, finished=finished)
        self._sock = sock
        self._transport = transport
        self._is_full = is_full
        self._pieces = pieces
        self._current = 0  # the piece that is being sent
        self._at = 0  # how much of it is out
        self._moved = 0
        self._waiting = False
        self._acked = 0
        self._acked = self._acknowledged()

    @property
    def moved(self) -> int:
        """Bytes given to the transport so far, head included."""
        return self._moved

    @property
    def arrived(self) -> int:
        """Bytes acknowledged since the beginning, those of TLS included."""
        return self._acknowledged() - self._acked

    def resume(self) -> None:
        """Go on if the transport was waited for: it has room again."""
        if self._waiting:
            self._waiting = False
            self._scheduler.reschedule(self)

    def _acknowledged(self) -> int:
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
        except (OSError, ValueError):  # the transport has closed it
            return self._acked
        return int(_ACKED.unpack(info)[0])

    def _send(self, limit: int) -> None:
        if self._transport.is_closing():
            self._end("client_gone")
        elif self._is_full():
            self._waiting = True
        elif self._current == len(self._pieces):
            self._end("")
        else:
            self._step(min(limit, self._budget))

    def _step(self, limit: int) -> None:
        try:
            data = self._next(limit)
        except OSError:  # of the file's disk: the head is out, so it cannot be answered any more
            self._end("storage_failed")
            return
        if not data and self._current < len(self._pieces):
            self._end("file_shrunk")
            return
        self._transport.writelines(data)
        self._moved += sum(map(len, data))
        if self._is_full():
            self._waiting = True
        elif self._current == len(self._pieces):
            self._end("")
        else:
            self._scheduler.reschedule(self)

    def _next(self, limit: int) -> list[bytes]:
        """Return what comes next, at most `limit` bytes; less only where the reply or the file ends."""
        data: list[bytes] = []
        while limit and self._current < len(self._pieces):
            piece = self._pieces[self._current]
            left = (piece.length if isinstance(piece, Span) else len(piece)) - self._at
            want = min(left, limit)
            if not left:
                took = b""
            elif isinstance(piece, Span):
                assert self.reply.file is not None
                took = os.pread(self.reply.file.descriptor.fileno(), want, piece.start + self._at)
            else:
                took = piece[self._at : self._at + want]
            if left and not took:
                break
            data.append(took)
            limit -= len(took)
            self._at += len(took)
            if len(took) == left:
                self._current += 1
                self._at = 0
        return data
