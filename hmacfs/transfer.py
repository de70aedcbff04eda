"""The one streaming engine: every byte of every upload and download passes through here.

`receive` and `receive_form` move a request's body into a part of the store, `Sending` moves a
reply to the client. Both work once per turn of the loop and leave the bytes to `_core`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from hmacfs import _core, errors
from hmacfs.errors import Refused
from hmacfs.model import KiB

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hmacfs.model import Plan, Reply, Span

# A form may hold a few small fields beside the file; all of them are cheap to refuse.
FORM_PARTS: Final = 16
FORM_HEADER_BYTES: Final = 8 * KiB

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_FILE: Final = -1
# How often to look whether a full socket takes more if no descriptor is left to wait on.
POLL_S: Final = 0.05


class Sink(Protocol):
    """What a body is poured into."""

    def take(self, data: memoryview) -> None:
        """Consume `data`, which is only lent. Raises Refused."""


class Part(Protocol):
    """What `receive` needs of a part of the store."""

    @property
    def fd(self) -> int:
        """The open, unnamed file."""

    @property
    def length(self) -> int:
        """Bytes reserved: no more may be written."""


class Link(Protocol):
    """One client as `transfer` sees it."""

    def pour(self, sink: Sink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`; done when it has ended. Refused if it breaks off."""


def refused(error: OSError) -> Refused:
    """Give the refusal that a failed write of a body amounts to."""
    full = error.errno in FULL
    return Refused(errors.DISK_FULL if full else errors.STORAGE_FAILED, error.strerror or "")


class FileSink:
    """Writes a body to a file, counts it and digests it while it is hot in the cache."""

    __slots__ = ("_digest", "_intake", "_limit")

    def __init__(self, file: int, limit: int) -> None:
        """Write to `file`, at most `limit` bytes."""
        self._intake = _core.Intake(file)
        self._digest = blake3()
        self._limit = limit

    @property
    def moved(self) -> int:
        """Bytes written so far."""
        return self._intake.moved

    def take(self, data: memoryview) -> None:
        """Write `data`. Raises Refused: size_mismatch past the limit, disk_full, storage_failed."""
        if self._intake.moved + len(data) > self._limit:
            raise Refused(errors.SIZE_MISMATCH, f"more than {self._limit} bytes came")
        try:
            self._intake.take(data)
        except OSError as error:
            raise refused(error) from error
        self._digest.update(data)

    def digest(self) -> bytes:
        """BLAKE3 of all bytes taken."""
        return self._digest.digest()


async def receive(link: Link, part: Part, plan: Plan) -> bytes:
    """Move a whole body into `part`; give its BLAKE3 digest.

    Raises Refused: size_mismatch unless exactly `part.length` bytes came.
    """
    sink = FileSink(part.fd, part.length)
    await link.pour(sink, plan)
    if sink.moved != part.length:
        raise Refused(errors.SIZE_MISMATCH, f"{sink.moved} bytes came, {part.length} were granted")
    return sink.digest()


class Form:
    """A multipart/form-data body: its field named "file" is written, all else is passed over.

    RFC 7578; parsed by the push parser of `multipart`, bounded but not strict: that would refuse the
    line end after the last boundary if it came by itself.
    """

    __slots__ = ("_current", "_parser", "name", "sink")

    def __init__(self, part: Part, boundary: str) -> None:
        """Write the file of a form with this `boundary` to `part`."""
        self._parser = PushMultipartParser(
            boundary,
            max_segment_count=FORM_PARTS,
            max_header_size=FORM_HEADER_BYTES,
        )
        self._current: MultipartSegment | None = None
        self.sink = FileSink(part.fd, part.length)
        self.name: str | None = None

    def take(self, data: memoryview) -> None:
        """Parse `data` and write what belongs to the file. Raises Refused."""
        if not data:
            return  # the parser would take it for the end of the form
        try:
            for event in self._parser.parse(bytes(data)):
                self._on_event(event)
        except MultipartError as error:
            raise Refused(errors.FORM_MALFORMED, str(error)) from error

    def _on_event(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._current = event
            if event.name == "file":
                if self.name is not None:
                    raise Refused(errors.FORM_MALFORMED, "there are two fields named file")
                self.name = event.filename or ""
        elif event is not None and self._current is not None and self._current.name == "file":
            self.sink.take(memoryview(event))

    def finish(self) -> tuple[str, int, bytes]:
        """Give the file's name, size and digest. Raises Refused if the form is not whole."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise Refused(errors.FORM_MALFORMED, "its last boundary is missing") from error
        if not self.name:
            raise Refused(errors.FORM_MALFORMED)
        return self.name, self.sink.moved, self.sink.digest()


async def receive_form(link: Link, part: Part, boundary: str, plan: Plan) -> tuple[str, int, bytes]:
    """Move the file of a form into `part`; give its name, size and BLAKE3 digest."""
    try:
        form = Form(part, boundary)
    except (MultipartError, ValueError) as error:
        raise Refused(errors.FORM_MALFORMED, str(error)) from error
    await link.pour(form, plan)
    return form.finish()


class Sending:
    """One reply on its way to the client.

    Writes to the transport's socket directly: the transport is never given bytes to queue, so
    nothing can overtake. A full socket is waited for on a duplicate of the descriptor, because
    uvloop refuses to poll a transport's own.
    """

    __slots__ = ("_before", "_budget", "_finished", "_flow", "_loop", "_sock", "_spare", "_stopped", "reply")

    def __init__(  # noqa: PLR0913 - one call site; each is a different noun
        self,
        loop: asyncio.AbstractEventLoop,
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
        self._loop = loop
        self._sock = sock
        self._spare = NO_FILE
        self._budget = plan.budget
        self._finished = finished
        self._stopped = False
        self._before = sent
        self._flow = _core.Outflow(sock, NO_FILE if reply.file is None else reply.file.fd, pieces)
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
        """Send one turn's worth, and see to it that the next turn comes."""
        if self._stopped:
            return
        try:
            why = self._flow.step(self._budget)
        except OSError as error:
            # EIO of the file's disk cannot be answered any more: the head is out.
            self._end("storage_failed" if error.errno == errno.EIO else "client_gone")
            return
        if why == _core.DONE:
            self._end("")
        elif why == _core.ENDED:
            self._end("file_shrunk")
        elif why == _core.WAIT:
            if self._spare == NO_FILE:
                self._wait_for_room()
        elif self._spare == NO_FILE:
            self._loop.call_soon(self.run)

    def _wait_for_room(self) -> None:
        try:
            self._spare = os.dup(self._sock)
        except OSError:  # EMFILE: what is under way goes on, if less smoothly
            self._loop.call_later(POLL_S, self.run)
            return
        self._loop.add_writer(self._spare, self.run)

    def abort(self, why: str) -> None:
        """Stop where it is: the client is gone, stalled, or the server must end."""
        if not self._stopped:
            self._end(why)

    def _end(self, why: str) -> None:
        self._stopped = True
        if self._spare != NO_FILE:
            self._loop.remove_writer(self._spare)
            os.close(self._spare)
            self._spare = NO_FILE
        if self.reply.file is not None:
            os.close(self.reply.file.fd)
        self._finished(why)
