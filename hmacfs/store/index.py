"""The index: what is known of a published file beyond its bytes. SQLite in WAL mode.

An `Index` is one connection and belongs to one thread at a time, never to the event loop's.
Raises sqlite3.Error, which `faults.indexing` turns into a refusal.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import quote

from hmacfs.model import Durability, KiB, StoredFile
from hmacfs.store import faults, schema
from hmacfs.store.faults import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NAME: Final = "index.db"
BUSY_TIMEOUT_S: Final = 5.0
# Nobody holds the index for so long who means to let go of it.
LOCKED_S: Final = 2.0
# SQLite's shared memory and the head of its log; "disk I/O error" is all that it says without them.
NEEDED_BYTES: Final = 64 * KiB

# NORMAL may lose the last transactions in a power cut, never the index: "relaxed" says just that.
_SYNCHRONOUS: Final = {Durability.FULL: "FULL", Durability.RELAXED: "NORMAL"}
_COLUMNS: Final = "key, mtime_ns, size, content_type, owner, digest, created, expires, sha256"

_ADD: Final = f"""
    INSERT INTO file ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own names
_DROP: Final = "DELETE FROM file WHERE key = ? AND mtime_ns = ?"
_LOOKUP: Final = f"SELECT {_COLUMNS} FROM file WHERE key = ? AND mtime_ns = ?"  # noqa: S608 - our own names
_PAGE: Final = f"""
    SELECT {_COLUMNS} FROM file WHERE (key, mtime_ns) > (?, ?) ORDER BY key, mtime_ns LIMIT ?
"""  # noqa: S608 - our own names
_EXPIRED: Final = f"""
    SELECT {_COLUMNS} FROM file
    WHERE expires IS NOT NULL AND expires <= ? AND (expires, key, mtime_ns) > (?, ?, ?)
    ORDER BY expires, key, mtime_ns LIMIT ?
"""  # noqa: S608 - our own names
_AGED: Final = f"""
    SELECT {_COLUMNS} FROM file
    WHERE expires IS NULL AND created <= ? AND (created, key, mtime_ns) > (?, ?, ?)
    ORDER BY created, key, mtime_ns LIMIT ?
"""  # noqa: S608 - our own names


class Identity(NamedTuple):
    """One upload, whatever is renamed or restored."""

    key: str
    mtime_ns: int


class Cursor(NamedTuple):
    """How far an ordered listing has come."""

    time: float
    key: str
    mtime_ns: int


BEGINNING: Final = Cursor(float("-inf"), "", -(2**63))


class Index:
    """One connection to the index."""

    def __init__(self, connection: sqlite3.Connection, *, is_open: bool = True) -> None:
        """Own `connection`; the class methods make it."""
        self._connection = connection
        self.is_open = is_open
        """Whether anything can be asked of it."""

    @classmethod
    def open(cls, path: str, durability: Durability, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open the index at `path`, making or migrating it. StorageError says what to do if it cannot be."""
        try:
            index = cls(_connect(path, "mode=rwc", timeout=busy_timeout_s))
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        try:
            index.begin(durability)
        except sqlite3.Error as error:
            index.close()
            raise unusable(path, error) from error
        except StorageError:
            index.close()
            raise
        return index

    def begin(self, durability: Durability) -> None:
        """Set the connection up and bring the tables up to date. Raises sqlite3.Error, StorageError."""
        self._connection.execute("PRAGMA journal_mode = WAL")
        self.set_durability(durability)
        schema.migrate(self._connection)
        self.lookup("", 0)  # a damaged root page shows itself here, not at the first upload

    @classmethod
    def to_read(cls, path: str) -> Self:
        """Open an index that cannot be written to, for look-ups alone. Raises sqlite3.Error.

        It may be read as it lies on the disk if its log holds nothing: then nobody can be writing to it
        either, since a writer begins with a log.
        """
        log = Path(f"{path}-wal")
        is_still = not log.exists() or not log.stat().st_size
        index = cls(_connect(path, "mode=ro&immutable=1" if is_still else "mode=ro"))
        try:
            index.lookup("", 0)
        except sqlite3.Error:
            index.close()
            raise
        return index

    @classmethod
    def absent(cls) -> Self:
        """Return what stands for an index that cannot be opened: each question raises sqlite3.Error."""
        index = cls(sqlite3.connect(":memory:", check_same_thread=False), is_open=False)
        index.close()
        return index

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def verify(self) -> None:
        """Read all of the index. Raises sqlite3.DatabaseError, as for what is read, if it is damaged."""
        (words,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if words != "ok":
            raise damaged(words)

    def set_durability(self, durability: Durability) -> None:
        """Sync each transaction, or let the system choose its time."""
        self._connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")

    def checkpoint(self) -> None:
        """Move what is in the log into the database file, as far as readers permit."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def never_wait(self) -> None:
        """Never wait for another writer, and never move or sync anything at a transaction's end."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def add(self, records: Iterable[StoredFile]) -> list[bool]:
        """Add all in one transaction; give for each whether it is new. One of the same identity stays."""
        with _Writing(self._connection):
            execute = self._connection.execute
            return [execute(_ADD, _row(record)).rowcount == 1 for record in records]

    def drop(self, identities: Iterable[Identity]) -> None:
        """Remove all in one transaction; what is not there does not matter."""
        with _Writing(self._connection):
            self._connection.executemany(_DROP, ((_bound(key), mtime_ns) for key, mtime_ns in identities))

    def lookup(self, key: str, mtime_ns: int) -> StoredFile | None:
        """Return what is known of one file; None if nothing is."""
        row = self._connection.execute(_LOOKUP, (_bound(key), mtime_ns)).fetchone()
        return None if row is None else _record(row)

    def missing(self, records: Iterable[StoredFile]) -> list[StoredFile]:
        """Return those of `records` that the index does not hold."""
        return [record for record in records if self.lookup(record.key, record.mtime_ns) is None]

    def page(self, after: Identity, limit: int) -> list[StoredFile]:
        """Return the next records behind `after` in the order of their keys."""
        return [_record(row) for row in self._connection.execute(_PAGE, (*_bound_all(after), limit))]

    def expired(self, now: float, after: Cursor, limit: int) -> list[StoredFile]:
        """Return the next records whose own expiry has come, oldest first."""
        return [_record(row) for row in self._connection.execute(_EXPIRED, (now, *_bound_all(after), limit))]

    def aged(self, created: float, after: Cursor, limit: int) -> list[StoredFile]:
        """Return the next records without an expiry of their own that were made at `created` or before."""
        return [_record(row) for row in self._connection.execute(_AGED, (created, *_bound_all(after), limit))]


class _Writing:
    """A write transaction, committed at the end or rolled back if anything fails."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        # IMMEDIATE: a transaction that first reads cannot wait for another writer, only fail.
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _row(record: StoredFile) -> Sequence[object]:
    """Return the row of a file."""
    return (
        _bound(record.key),
        record.mtime_ns,
        record.size,
        record.content_type,
        record.owner,
        record.digest,
        record.created,
        record.expires,
        record.sha256,
    )


def _record(row: tuple[Any, ...]) -> StoredFile:
    key, mtime_ns, size, content_type, owner, digest, created, expires, sha256 = row
    return StoredFile(
        key=key if isinstance(key, str) else os.fsdecode(key),
        mtime_ns=mtime_ns,
        size=size,
        content_type=content_type,
        owner=owner,
        digest=digest,
        created=created,
        expires=expires,
        sha256=sha256,
    )


def _bound(key: str) -> str | bytes:
    """Return a key as the index keeps it: text, or bytes if it is not UTF-8 (a BLOB, behind all text)."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return os.fsencode(key)
    return key


def _bound_all(values: Iterable[object]) -> Iterator[object]:
    return (_bound(value) if isinstance(value, str) else value for value in values)


def damaged(words: str) -> sqlite3.DatabaseError:
    """Return the error that SQLite itself has for a damaged file."""
    error = sqlite3.DatabaseError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def fault(path: str, *, writing: bool = False) -> str:
    """Say why the index at `path` could not be read by somebody who opened it now; "" if it could be.

    `writing`: nor be written to within LOCKED_S, without writing anything. Makes no index.
    """
    try:
        connection = _connect(path, "mode=rw", timeout=LOCKED_S if writing else 0.0)
        try:
            connection.execute(_LOOKUP, ("", 0)).fetchone()
            if writing:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        if not writing and faults.primary(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return ""
        return str(unusable(path, error))
    return ""


def _connect(path: str, query: str, timeout: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?{query}",  # noqa: PTH100 - as it is, links and all
        timeout=timeout,
        isolation_level=None,  # transactions begin and end here, in sight
        check_same_thread=False,  # made by one thread, then used by another, never by two
        uri=True,
    )


def unusable(path: str, error: sqlite3.Error) -> StorageError:
    """Say why the index could not be opened, or read, and what to do."""
    code = faults.primary(error)
    if code in faults.DAMAGE:
        return StorageError(
            f"the index {path} is damaged ({error}): stop hmacfs and move {NAME}, {NAME}-wal and {NAME}-shm "
            "aside; the next start rebuilds it from the files, without signed types and expiry times"
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StorageError(f"the index {path} is locked by another program: end it, then start again")
    why = str(error)
    try:
        room = os.statvfs(Path(path).parent)
    except OSError as gone:
        why = gone.strerror or why
    else:
        # SQLite says the same of all three.
        if room.f_flag & os.ST_RDONLY:
            why = "its file system is read-only"
        elif room.f_files and not room.f_favail:
            return StorageError(f"the index {path} cannot be opened, because no inodes are free", full=True)
        elif room.f_bavail * room.f_frsize < NEEDED_BYTES:
            words = f"the index {path} cannot be opened, because the disk is full: free some space"
            return StorageError(words, full=True)
    return StorageError(f"the index {path} cannot be opened: {why}")
