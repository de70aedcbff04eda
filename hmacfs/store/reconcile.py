"""Reconciliation: after a crash, a restore or a move from another server, index and tree agree again.

A row whose file is gone is dropped; a file without a row (left by the Go server, by
prosody-filer, by a restore) gets one, so that file_ttl applies to it. Works in small batches and
rests as long as it worked, so that it may run beside the service.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from hmacfs.errors import Refused
from hmacfs.http import target
from hmacfs.model import NANOSECONDS, StoredFile
from hmacfs.store import files, keys
from hmacfs.store.index import Identity

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    from hmacfs.store.files import Tree
    from hmacfs.store.index import Index

LOCK: Final = "reconcile.lock"
BATCH_FILES: Final = 200
# A row stands before its file for as long as a slow disk takes to sync the upload. A row that is
# younger than this may be about to get its file, and is left to the next start.
GRACE_S: Final = 3600.0
# Each level of the walk holds a descriptor. Deeper files are served, but get no row.
MAX_DEPTH: Final = 128
# So many of the files that no URL can name are told by name.
NAMED: Final = 5


class Reconciled(NamedTuple):
    """What one pass changed."""

    dropped: int
    """Rows without a file."""
    added: int
    """Files without a row."""
    skipped: int
    """Entries that are no files or could not be read: links, devices, unreadable directories."""
    unserved: int = 0
    """Files that no URL can name; they have rows, so that they expire."""
    unserved_names: tuple[str, ...] = ()
    """The first of them, printable."""


def reconcile(tree: Tree, index: Index, *, now: float, stop: threading.Event) -> Reconciled | None:
    """Make index and tree agree; None if another process is at it. Ends early when `stop` is set.

    Raises sqlite3.Error if the index does not answer, OSError if the tree does not.
    """
    with tree.locked(LOCK, wait=False) as held:
        if not held:
            return None
        dropped = _drop_stale(tree, index, now - GRACE_S, stop)
        walk = _Walk(tree)
        added = _adopt(index, walk, stop)
        return Reconciled(dropped, added, walk.skipped, walk.unserved, tuple(walk.unserved_names))


def _drop_stale(tree: Tree, index: Index, before: float, stop: threading.Event) -> int:
    """Drop the rows made before `before` whose file is gone or is another one."""
    dropped = 0
    after = Identity("", -(2**63))
    while not stop.is_set() and (page := index.page(after, BATCH_FILES)):
        began = time.monotonic()
        stale = [
            Identity(record.key, record.mtime_ns)
            for record in page
            if record.created < before and not _stands(tree, record)
        ]
        if stale:
            index.drop(stale)
            dropped += len(stale)
        after = Identity(page[-1].key, page[-1].mtime_ns)
        stop.wait(time.monotonic() - began)
    return dropped


def _stands(tree: Tree, record: StoredFile) -> bool:
    """Tell whether the file of a record is in its place; in doubt it is."""
    try:
        found = tree.look(record.key)
        if found is None:
            # A file system that is not mounted now would come back without signed types and expiry times.
            return tree.is_bare(record.key)
    except NotADirectoryError:
        return False
    except OSError:
        return True
    return found.st_mtime_ns == record.mtime_ns


def _adopt(index: Index, walk: _Walk, stop: threading.Event) -> int:
    """Return a row to each file that has none."""
    added = 0
    began = time.monotonic()
    batch: list[StoredFile] = []
    with contextlib.closing(walk.files()) as found:
        for record in found:
            batch.append(record)
            if len(batch) < BATCH_FILES:
                continue
            added += _add(index, batch)
            batch = []
            if stop.wait(time.monotonic() - began):
                return added
            began = time.monotonic()
    return added + _add(index, batch)


def _add(index: Index, batch: list[StoredFile]) -> int:
    missing = index.missing(batch)
    return sum(index.add(missing)) if missing else 0


class _Walk:
    """A walk over every file that the sweeper must know of, depth first, in bounded memory."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.skipped = 0
        self.unserved = 0
        self.unserved_names: list[str] = []

    def files(self, directory: str = "", depth: int = 0) -> Generator[StoredFile, None, None]:
        """Return a record for each regular file; created is its mtime, since nothing better is known."""
        try:
            fd = self._tree.directory(os.fsencode(directory))
        except OSError:  # unreadable, too long a path, a link by now
            self.skipped += 1
            return
        with files.lent(fd), os.scandir(fd) as entries:
            for entry in entries:
                if not directory and entry.name == keys.PRIVATE:
                    continue
                key = f"{directory}/{entry.name}" if directory else entry.name
                try:
                    found = self._look(key, entry)
                except FileNotFoundError:
                    continue  # removed since it was listed
                if isinstance(found, StoredFile):
                    self._count(key)
                    yield found
                elif found and depth < MAX_DEPTH:
                    yield from self.files(key, depth + 1)
                else:
                    self.skipped += 1

    def _look(self, key: str, entry: os.DirEntry[str]) -> StoredFile | bool:
        """Return a file's record; else whether it is a directory to be walked."""
        if entry.is_dir(follow_symlinks=False) or self._tree.follows(key):
            return True
        found = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return False
        return StoredFile(
            key=key,
            mtime_ns=found.st_mtime_ns,
            size=found.st_size,
            created=found.st_mtime_ns / NANOSECONDS,
        )

    def _count(self, key: str) -> None:
        """Note a file that no URL can name."""
        path = os.fsencode(key)
        try:
            target.decode_path(b"/" + quote(path).encode())
            keys.path_of(key)
        except Refused:
            self.unserved += 1
            if len(self.unserved_names) < NAMED:
                self.unserved_names.append(printable(key))


def printable(key: str) -> str:
    """Return a key as text that shows on one line whatever bytes are in it."""
    text = os.fsencode(key).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode()
