"""What the index said, turned into what the client is told; and why a storage cannot be used."""

from __future__ import annotations

import sqlite3
from typing import Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Dependency

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

LASTING: Final = INDEX_FAULTS - {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
"""What says that the index will not answer the next time either."""


class StorageError(Exception):
    """The storage, or a part of it, cannot be used; the words say why and what to do."""

    def __init__(self, words: str, *, full: bool = False) -> None:
        """Say `words`; `full`: there is no room, so that an upload is 507 and not 503."""
        super().__init__(words)
        self.full = full


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
