"""One worker's connections to the index, as long as it can be used, and what stands in their place when not.

Knows when the files that are open are no more those of their names. Methods block, and are for one thread;
the attributes are read by any.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.model import Durability
from hmacfs.store import index as indices
from hmacfs.store.faults import StorageError
from hmacfs.store.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES: Final = ("", "-wal", "-shm")


class Connections(NamedTuple):
    """The three connections of a worker: each belongs to a thread of its own."""

    writer: Index
    quick: Index
    """The event loop's, which never waits."""
    reader: Index

    def close(self) -> None:
        """Close all of them."""
        for one in self:
            one.close()


def absent() -> Connections:
    """Return what stands in their place: everything asked of it raises sqlite3.Error."""
    return Connections(Index.absent(), Index.absent(), Index.absent())


class IndexIdentity(NamedTuple):
    """One file as it was when it was looked at last."""

    device: int
    inode: int
    size: int


class Files:
    """The index's files on the disk, remembered, so that what becomes of them under the server is noticed."""

    def __init__(self, path: str) -> None:
        """Remember nothing yet of the index at `path`."""
        self._path = path
        self._seen: dict[str, IndexIdentity] = {}

    def remember(self) -> None:
        """Take what lies there now for what is open. Raises OSError."""
        self._seen = {path: _seen(path) for path in self._paths()}

    def inodes(self) -> tuple[int, ...]:
        """Return the inodes of what is open, in the order of SUFFIXES."""
        return tuple(seen.inode for seen in self._seen.values())

    def fault(self) -> str:
        """Say what has become of the files that are open; "" if they are what they were."""
        for path, was in self._seen.items():
            try:
                now = _seen(path)
            except FileNotFoundError:
                return f"{path} has been removed while it is in use"
            except OSError as error:
                return f"{path} cannot be looked at: {error.strerror}"
            if now[:2] != was[:2]:
                return f"{path} has been replaced by another file while it is in use"
            # Ours never shrink one. Who has done it in SQLite's own way has left a sound index.
            if now.size < was.size and (words := indices.fault(self._path) or _unsound(self._path)):
                return f"{path} has been cut while it is in use: {words}"
            self._seen[path] = now
        return indices.fault(self._path)

    def _paths(self) -> Iterator[str]:
        return (self._path + suffix for suffix in SUFFIXES)


def connect(path: str, durability: Durability, *, verify: bool) -> Connections:
    """Open the index at `path` three times, making it if need be; `verify` reads all of it first.

    Raises StorageError.
    """
    with contextlib.ExitStack() as undo:
        writer = Index.open(path, durability)
        undo.callback(writer.close)
        if verify:
            try:
                writer.verify()
            except sqlite3.Error as error:
                raise indices.unusable(path, error) from error
        quick = Index.open(path, Durability.RELAXED)
        undo.callback(quick.close)
        quick.never_wait()
        reader = Index.open(path, durability)
        undo.pop_all()
    return Connections(writer, quick, reader)


def to_read(path: str) -> Connections | None:
    """Return connections for look-ups alone, where the index cannot be written; None if it cannot be read.

    Nothing is made.
    """
    try:
        return Connections(Index.absent(), Index.absent(), Index.to_read(path))
    except (sqlite3.Error, OSError):
        return None


def _seen(path: str) -> IndexIdentity:
    found = os.stat(path)  # noqa: PTH116 - text
    return IndexIdentity(found.st_dev, found.st_ino, found.st_size)


def _unsound(path: str) -> str:
    """Say what is wrong with an index that was cut."""
    try:
        with contextlib.closing(Index.open(path, Durability.RELAXED)) as index:
            index.verify()
    except sqlite3.Error as error:
        return str(error)
    except StorageError as error:
        return str(error)
    return ""
