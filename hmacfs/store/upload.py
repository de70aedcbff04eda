"""One upload on its way to its name, and who is told how it ended."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hmacfs.model import NANOSECONDS
from hmacfs.policy import os_errors
from hmacfs.store import faults
from hmacfs.store.index import Identity

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import TracebackType

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import Slot, StoredFile


class PendingPublication:
    """A whole file on the way to its name. It owns `file` from the moment it is made."""

    __slots__ = ("answer", "carried", "fault", "file", "inode", "reserved", "slot", "stored")

    def __init__(
        self,
        file: Descriptor,
        slot: Slot,
        stored: StoredFile,
        reserved: int,
        answer: asyncio.Future[StoredFile],
    ) -> None:
        """Take `file` over, whose bytes and room were `reserved`; `stored` is what the index will know of it.

        `answer` belongs to the event loop and is told by `tell` only.
        """
        self.file = file
        self.slot = slot
        self.stored = stored
        self.reserved = reserved
        self.answer = answer
        self.carried = False  # whether it was copied to the file system that its name is on
        self.fault: Exception | None = None
        self.inode = 0  # until it is sealed

    def seal(self, mtime_ns: int, inode: int) -> None:
        """Take what the file system says of the file, now that nothing more will be written to it."""
        self.inode = inode
        self.stored.mtime_ns = mtime_ns
        self.stored.created = mtime_ns / NANOSECONDS

    @property
    def identity(self) -> Identity:
        """What names this upload in the index."""
        return Identity(self.stored.key, self.stored.mtime_ns)

    def carry_over(self, copy: Descriptor) -> Descriptor:
        """Take `copy` in the file's place; return the file, which is the caller's now."""
        first, self.file = self.file, copy
        self.reserved = self.stored.size
        self.carried = True
        return first

    def close(self) -> None:
        """Close the file: it is published, or vanishes unless it is linked."""
        self.file.close()

    def fail(self, error: Exception) -> None:
        """Close the file and keep the reason for `tell`."""
        self.close()
        if isinstance(error, OSError):
            error = os_errors.writing(error)
        elif isinstance(error, sqlite3.Error):
            error = faults.indexing(error)
        self.fault = error

    def tell(self) -> None:
        """Say how it ended to who waits; on the event loop, once it has ended."""
        if self.answer.done():  # cancelled
            return
        if self.fault is None:
            self.answer.set_result(self.stored)
        else:
            self.answer.set_exception(self.fault)


class FailPending:
    """Keeps anything that goes wrong for what waits, so that nothing waits for ever."""

    __slots__ = ("_uploads",)

    def __init__(self, uploads: Sequence[PendingPublication]) -> None:
        """Watch over the publication of `uploads`."""
        self._uploads = uploads

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        """Keep an Exception: it is raised again where the upload is awaited."""
        if not isinstance(error, Exception):
            return False
        for upload in self._uploads:
            if not upload.file.closed:  # this one has not ended yet
                upload.fail(error)
        return True
