"""What the system said, turned into what the client is told: the border where errors become refusals."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Dependency
from hmacfs.policy import breaker

# What nobody may read is not there: a storage's own "lost+found" must not answer 500 to a probe.
READING: Final = {
    errno.ENOENT: errors.NOT_FOUND,
    errno.ENOTDIR: errors.NOT_FOUND,
    errno.ELOOP: errors.NOT_FOUND,  # a symbolic link on the way: RESOLVE_NO_SYMLINKS
    errno.EXDEV: errors.NOT_FOUND,  # out of the tree: RESOLVE_BENEATH
    errno.EISDIR: errors.NOT_FOUND,
    errno.ENXIO: errors.NOT_FOUND,  # a UNIX socket, or a device without a driver
    errno.ENODEV: errors.NOT_FOUND,
    errno.EACCES: errors.NOT_FOUND,
    errno.EPERM: errors.NOT_FOUND,
    errno.ENAMETOOLONG: errors.NAME_TOO_LONG,
    errno.EMFILE: errors.BUSY,
    errno.ENFILE: errors.BUSY,
    errno.ENOMEM: errors.BUSY,
    errno.EAGAIN: errors.BUSY,  # openat2 could not rule out that a rename led it astray
}
WRITING: Final = {
    errno.EEXIST: errors.EXISTS,
    errno.ENOTDIR: errors.EXISTS,  # a file where the name needs a directory
    errno.ELOOP: errors.NOT_FOUND,  # a symbolic link on the way
    errno.ENAMETOOLONG: errors.NAME_TOO_LONG,
    errno.ENOSPC: errors.DISK_FULL,
    errno.EDQUOT: errors.DISK_FULL,
    errno.EFBIG: errors.DISK_FULL,
    errno.EMFILE: errors.BUSY,
    errno.ENFILE: errors.BUSY,
    errno.ENOMEM: errors.BUSY,
    errno.EAGAIN: errors.BUSY,
    errno.EBUSY: errors.BUSY,
    errno.EINTR: errors.BUSY,
}
PASSING: Final = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR})
"""What may pass by itself within a moment, so that the same step is worth another try."""
INDEX: Final = {
    sqlite3.SQLITE_BUSY: errors.BUSY,
    sqlite3.SQLITE_LOCKED: errors.BUSY,
    sqlite3.SQLITE_NOMEM: errors.BUSY,
    sqlite3.SQLITE_FULL: errors.DISK_FULL,
}
DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
INDEX_FAULTS: Final = DAMAGE | {
    sqlite3.SQLITE_BUSY,  # for longer than the time that it is waited for
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,  # the same, where many begin at once
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""What says that the index is broken."""


FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What says that there is no room."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
"""What is there, and may not be read by the server's user."""
LASTING: Final = INDEX_FAULTS - {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
"""What says that the index will not answer the next time either."""


class StorageError(Exception):
    """The storage, or a part of it, cannot be used; the words say why and what to do."""

    def __init__(self, words: str, *, full: bool = False) -> None:
        """Say `words`; `full`: there is no room, so that an upload is 507 and not 503."""
        super().__init__(words)
        self.full = full


def reading(error: OSError) -> Refused:
    """Return the refusal for a failed open or look-up."""
    return _refused(error, READING)


def writing(error: OSError) -> Refused:
    """Return the refusal for a failed reservation, publication or removal."""
    refused = _refused(error, WRITING)
    if error.errno in breaker.STORAGE_FAULTS:
        refused.broken = Dependency.STORAGE
    return refused


def indexing(error: sqlite3.Error) -> Refused:
    """Return the refusal for a failed transaction of the index."""
    code = primary(error)
    # A shared memory that finds no room is "disk I/O error" too, but a full disk is not broken.
    full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
    broken = Dependency.INDEX if code in INDEX_FAULTS and not full else None
    return Refused(INDEX.get(code, errors.STORAGE_FAILED), f"index: {error}", broken=broken)


def primary(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for errors that Python itself raised."""
    code: int = getattr(error, "sqlite_errorcode", 0)  # set by SQLite's own errors only
    return code & 0xFF


def _refused(error: OSError, table: dict[int, errors.Refusal]) -> Refused:
    refusal = table.get(error.errno or 0, errors.STORAGE_FAILED)
    if refusal is errors.NOT_FOUND or error.errno is None:
        return Refused(refusal)
    # The words of the error only: a path would tell the client where the storage lies.
    return Refused(refusal, os.strerror(error.errno))
