"""One upload on its way to its name, and who is told how it ended."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.policy import os_errors
from hmacfs.store import faults
from hmacfs.store.index import Identity
from hmacfs.store.metadata_cache import CachedMetadata

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import TracebackType

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import Slot

NANO: Final = 10**9


class PublishedFile(NamedTuple):
    """What a published file is from now on."""

    key: str
    mtime_ns: int
    size: int
    inode: int


class PendingPublication:
    """A whole file on the way to its name. It owns `file` from the moment it is made."""

    __slots__ = (
        "answer",
        "carried",
        "content_type",
        "digest",
        "expires",
        "fault",
        "file",
        "inode",
        "mtime_ns",
        "owner",
        "reserved",
        "sha256",
        "size",
        "slot",
    )

    def __init__(  # noqa: PLR0913 - what is known of a file
        self,
        file: Descriptor,
        slot: Slot,
        *,
        size: int,
        reserved: int,
        content_type: str | None,
        owner: str,
        expires: float | None,
        digest: bytes | None,
        sha256: bytes | None,
        answer: asyncio.Future[PublishedFile],
    ) -> None:
        """Take `file` over; `answer` belongs to the event loop and is told by `tell` only."""
        self.file = file
        self.slot = slot
        self.size = size
        self.reserved = reserved
        self.content_type = content_type
        self.owner = owner
        self.expires = expires
        self.digest = digest
        self.sha256 = sha256
        self.answer = answer
        self.carried = False  # whether it was copied to the file system that its name is on
        self.fault: Exception | None = None
        self.mtime_ns = 0
        self.inode = 0

    @property
    def identity(self) -> Identity:
        """What names this upload in the index."""
        return Identity(self.slot.key, self.mtime_ns)

    def row(self) -> Sequence[object]:
        """Return the row that the index gets, as `index.row_of` would of a Record."""
        return (
            self.slot.key,
            self.mtime_ns,
            self.size,
            self.content_type,
            self.owner,
            self.digest,
            self.mtime_ns / NANO,
            self.expires,
            self.sha256,
        )

    def facts(self) -> CachedMetadata:
        """Return what readers want to know of it."""
        return CachedMetadata(self.content_type, self.expires, self.mtime_ns / NANO, self.sha256)

    def carry_over(self, copy: Descriptor) -> Descriptor:
        """Take `copy` in the file's place; return the file, which is the caller's now."""
        first, self.file = self.file, copy
        self.reserved = self.size
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
            self.answer.set_result(PublishedFile(self.slot.key, self.mtime_ns, self.size, self.inode))
        else:
            self.answer.set_exception(self.fault)


class FailPending:
    """Keeps anything that goes wrong for those who wait, so that nobody waits for ever."""

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
