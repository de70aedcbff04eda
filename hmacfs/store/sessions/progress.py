"""What a request does to an upload that it holds: prepare for bytes, keep, doubt, cut or join them.

Blocks. Raises Refused, and OSError for what the storage does.
"""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING, Final

from hmacfs import _core, errors
from hmacfs.errors import Refused
from hmacfs.model import KiB, MiB, Span
from hmacfs.store.sessions.write_lease import Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmacfs.store.sessions.keeping import Keeping
    from hmacfs.store.sessions.session_file import SessionState
    from hmacfs.store.sessions.write_lease import WriteLease

# So much is joined before a newer request gets its chance to take over.
PIECE_BYTES: Final = 64 * MiB
BLOCK_BYTES: Final = 512  # of st_blocks (stat(3type))
# What a file may take beyond its size without a reservation: its last block, and those that tell where it is.
SLACK_BYTES: Final = 64 * KiB


class Progress:
    """What becomes of the bytes of the unfinished uploads of one storage."""

    def __init__(self, keeping: Keeping) -> None:
        """Go by the rules of `keeping`."""
        self._keeping = keeping

    def expect(self, writing: WriteLease, length: int | None, count: int) -> None:
        """Prepare for `count` bytes more, and note how long the file will be if nobody has said so before.

        0 if it is not known how many they are: then room is taken as they come. Raises Refused DISK_FULL,
        UPLOAD_TAKEN_OVER.
        """
        found = writing.found
        if length is not None and found.length is None:
            with writing.held():
                writing.note.set_length(length)
            self._keeping.sync_note(writing.note)
            writing.found = found._replace(length=length)
        most = found.terms.most if found.length is None else found.length
        writing.room = self._keeping.room(writing.file, found.offset, found.offset + count if count else most)
        if count:
            writing.room.begin(count)

    def let_go(self, writing: WriteLease) -> None:
        """Give the room back that was taken for what now does not come, unless a newer request has it."""
        with writing.note.locked():
            if writing.is_complete or not writing.fence.holds:
                return
            content = writing.note.read()
            if not content.terms.chunk:
                give_back(writing.fd, content)
            elif writing.room is not None:  # of a chunk that is not whole nothing stays
                drop_span(writing.fd, Span(writing.found.offset, writing.room.end))

    def keep(self, writing: WriteLease) -> None:
        """Make what was written last, as far as the site promises.

        Raises Refused UPLOAD_TAKEN_OVER if the upload was dropped meanwhile: there is nothing to tell of.
        """
        if writing.is_complete:
            return
        size = os.fstat(writing.fd).st_size  # before the sync: whatever comes behind it is not meant
        if writing.room is not None and writing.room.end > size:  # nobody had said how much would come
            self.let_go(writing)
        self._keeping.sync(writing)
        if not writing.note.named:
            raise Refused(errors.UPLOAD_TAKEN_OVER)
        writing.note.touch(self._keeping.clock_ns())
        writing.found = writing.found._replace(offset=size)

    def keep_chunk(self, writing: WriteLease) -> Found:
        """Make a chunk that was written whole last, and note that it is there. Give what now is.

        Raises Refused UPLOAD_TAKEN_OVER.
        """
        self._keeping.sync(writing)
        with writing.held():
            writing.fence.settle()
            writing.note.touch(self._keeping.clock_ns())
            found = Found.of(writing.note, writing.note.read(), 0)
        self._keeping.sync_note(writing.note)
        return found

    def digest(self, writing: WriteLease, algorithm: str) -> str:
        """Return the digest of the whole file in hex digits; `algorithm` is hashlib's name of it."""
        with open(os.dup(writing.fd), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            return hashlib.file_digest(file, algorithm).hexdigest()

    def doubt(self, writing: WriteLease) -> None:
        """Count what comes now only from `trust` on; who takes over before that drops it.

        Raises Refused UPLOAD_TAKEN_OVER.
        """
        with writing.held():
            writing.note.set_doubt(writing.found.offset)
            writing.note.touch(self._keeping.clock_ns())
        self._keeping.sync_note(writing.note)

    def trust(self, writing: WriteLease) -> None:
        """Count what has come since `doubt`. Raises Refused UPLOAD_TAKEN_OVER."""
        with writing.held():
            writing.note.set_doubt(None)
            writing.note.touch(self._keeping.clock_ns())
        self._keeping.sync_note(writing.note)  # else the doubt could come back, and drop what was told

    def cut(self, writing: WriteLease) -> None:
        """Drop what this request has written. Raises Refused UPLOAD_TAKEN_OVER."""
        with writing.held():
            os.ftruncate(writing.fd, writing.found.offset)

    def join(self, writing: WriteLease, sources: Sequence[WriteLease]) -> None:
        """Put the bytes of `sources` together in their order, after all of the room for them was taken.

        Raises Refused UPLOAD_TAKEN_OVER, DISK_FULL. What stands there already is of a join before. By
        copy_file_range(2), which shares the bytes where the file system can.
        """
        length = sum(source.found.offset for source in sources)
        self._keeping.room(writing.file, min(writing.found.offset, length), length).take_all()
        start = 0
        for source in sources:
            at = min(max(writing.found.offset - start, 0), source.found.offset)
            while at < source.found.offset:
                want = min(source.found.offset - at, PIECE_BYTES)
                with writing.fence.guard(wait=True):
                    done = os.copy_file_range(source.fd, writing.fd, want, at, start + at)
                if not done:
                    raise Refused(errors.STORAGE_FAILED, "a part of the upload is shorter than it was")
                at += done
            start += at
        writing.found = writing.found._replace(offset=start)


def give_back(fd: int, content: SessionState) -> None:
    """Give back what a request before this one has reserved and not used; chunks may come in any order."""
    found = os.fstat(fd)
    if not content.terms.chunk and found.st_blocks * BLOCK_BYTES > found.st_size + SLACK_BYTES:
        os.ftruncate(fd, found.st_size)


def drop_span(fd: int, span: Span) -> None:
    """Give the space of a span of a file back, where the file system can; nobody else may write meanwhile.

    Beyond the end of a file there are no holes, and to cut it would take the room of other chunks as well.
    """
    if span.length:
        if os.fstat(fd).st_size < span.stop:
            os.ftruncate(fd, span.stop)
        try:
            _core.punch_hole(fd, span.length, span.start)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
