"""A reply on its way out: pieces of memory and spans of a file, a turn at a time."""

from __future__ import annotations

import abc
import errno
import fcntl
import os
import socket
import struct
import termios
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from hmacfs import _core
from hmacfs.model import Reply, Span
from hmacfs.policy import buffers
from hmacfs.transfer.page_cache import PageCache
from hmacfs.transfer.scheduler import WRITABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import Plan
    from hmacfs.transfer.scheduler import Scheduler

NO_FILE: Final = -1
# Where tcpi_bytes_acked lies in struct tcp_info; linux/tcp.h.
_ACKED: Final = struct.Struct("=120xQ")


class RenderedReply(NamedTuple):
    """A reply as it leaves."""

    reply: Reply
    pieces: tuple[bytes | Span, ...]
    """The head and what is sent of the body, in order; Spans are those of the reply's file."""
    sent: int = 0
    """Bytes of it that went out before, and are none of `pieces`."""


class EncryptedStream(Protocol):
    """What encrypts, and keeps what the socket does not take."""

    @property
    def socket(self) -> socket.socket:
        """The socket below."""

    @property
    def closing(self) -> bool:
        """Whether it takes no more bytes."""

    @property
    def is_full(self) -> bool:
        """Whether it has more than it should, and is about to say when it has room again."""

    def writelines(self, data: list[bytes]) -> None:
        """Take all of `data` for good."""


class ReplyTransfer(abc.ABC):
    """One reply on its way to the client: it owns the reply's file, and closes it at its one end."""

    __slots__ = ("_aside", "_budget", "_finished", "_pages", "_scheduler", "_stopped", "error", "reply")

    def __init__(
        self,
        scheduler: Scheduler,
        rendered: RenderedReply,
        budget: int,
        finished: Callable[[str], None],
    ) -> None:
        """Prepare to send `rendered`, at most `budget` bytes a turn; tell `finished` "" or why it failed."""
        reply = rendered.reply
        self._scheduler = scheduler
        self._budget = budget
        self._finished = finished
        self._stopped = False
        self._aside = False  # whether a thread reads what is to be sent next
        self._pages = None if reply.file is None else PageCache.of(reply.file.descriptor, rendered.pieces)
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

    def resume(self) -> None:  # noqa: B027 - most never wait for it
        """Go on if it was waiting for room."""

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

    def __init__(
        self,
        scheduler: Scheduler,
        sock: Descriptor,
        rendered: RenderedReply,
        plan: Plan,
        finished: Callable[[str], None],
    ) -> None:
        """Prepare to send `rendered`; `finished` is told "" or why it failed."""
        super().__init__(scheduler, rendered, plan.budget, finished)
        file = rendered.reply.file
        self._sock = sock
        self._watched = False
        self._before = rendered.sent
        self._flow = _core.PieceSender(sock, None if file is None else file.descriptor, rendered.pieces)

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

    __slots__ = ("_acked", "_at", "_current", "_moved", "_pieces", "_stream", "_waiting")

    def __init__(
        self,
        scheduler: Scheduler,
        stream: EncryptedStream,
        rendered: RenderedReply,
        plan: Plan,
        finished: Callable[[str], None],
    ) -> None:
        """Prepare to give `rendered` to `stream` whenever that is not full; its socket tells what arrived."""
        assert not rendered.sent  # nothing is answered from memory
        super().__init__(scheduler, rendered, min(plan.budget, buffers.TLS_TURN_BYTES), finished)
        self._stream = stream
        self._pieces = rendered.pieces
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
            info = self._stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
        except (OSError, ValueError):  # the transport has closed it
            return self._acked
        return int(_ACKED.unpack(info)[0])

    def _send(self, limit: int) -> None:
        if self._stream.closing:
            self._end("client_gone")
        elif self._stream.is_full:
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
        self._stream.writelines(data)
        self._moved += sum(map(len, data))
        if self._stream.is_full:
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
