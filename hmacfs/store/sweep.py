"""Expiry: find what must be gone by asking the index, and remove it, a little at a time.

No tree walk: a file that the index does not know is none of the sweeper's business until
`reconcile` has adopted it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.store.index import BEGINNING, Cursor, Identity

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from hmacfs.model import StoredFile
    from hmacfs.store.files import Tree
    from hmacfs.store.index import Index

LOCK: Final = "sweep.lock"
# One transaction and one directory sync serve this many files, and an upload waits at most for that.
BATCH_FILES: Final = 100
# So that a day's files that expire together do not take the disk away from the clients.
FILES_PER_S: Final = 1000.0


class Due(NamedTuple):
    """When files must be gone, and what is left of their directories."""

    now: float
    """Wall-clock time."""
    ttl_s: float | None
    """Age at which a file without an expiry of its own must be gone; None: never."""
    keep: frozenset[str]
    """The directories that stay even if they become empty: the endpoints'."""


class Swept(NamedTuple):
    """What one pass removed."""

    removed: int
    size_bytes: int
    failed: int
    """Files that could not be removed and stay for the next pass."""


def find_expired(
    index: Index, *, now: float, ttl_s: float | None, limit: int = BATCH_FILES
) -> Iterator[list[StoredFile]]:
    """Return batches of the records that must be gone at `now`: own expiry first, then older than the ttl."""
    after = BEGINNING
    while batch := index.expired(now, after, limit):
        yield batch
        last = batch[-1]
        after = Cursor(last.expires or 0.0, last.key, last.mtime_ns)
    if ttl_s is None:
        return
    after = BEGINNING
    while batch := index.aged(now - ttl_s, after, limit):
        yield batch
        last = batch[-1]
        after = Cursor(last.created, last.key, last.mtime_ns)


def sweep(
    tree: Tree, index: Index, due: Due, stop: threading.Event, *, files_per_s: float = FILES_PER_S
) -> Swept | None:
    """Remove what is `due`; None if another process is at it. Ends early when `stop` is set.

    Raises sqlite3.Error if the index does not answer; a file that cannot be removed is counted.
    """
    removed = size_bytes = failed = 0
    with tree.locked(LOCK, wait=False) as held:
        if not held:
            return None
        for batch in find_expired(index, now=due.now, ttl_s=due.ttl_s):
            done = remove(tree, index, batch, due.keep)
            removed += done.removed
            size_bytes += done.size_bytes
            failed += done.failed
            pause_s = 0.0 if math.isinf(files_per_s) else len(batch) / files_per_s
            if stop.wait(pause_s):
                break
    return Swept(removed, size_bytes, failed)


def remove(tree: Tree, index: Index, batch: list[StoredFile], keep: frozenset[str]) -> Swept:
    """Remove files, sync their directories, then drop their rows.

    In that order: a file that came back after a power cut without its row would have lost the
    signed expiry, and would stay. A file with another mtime is a newer one and stays.
    """
    removed = size_bytes = failed = 0
    gone: list[StoredFile] = []
    directories: set[str] = set()
    for record in batch:
        try:
            found = tree.unlink(record.key, mtime_ns=record.mtime_ns)
            if found is not None:
                removed += 1
                size_bytes += found.st_size
            elif tree.is_bare(record.key):
                continue  # its file system is not mounted: the file will be removed when it is there again
            directories.add(tree.prune(record.key, keep))
        except OSError:
            failed += 1
        else:
            gone.append(record)
    unsynced = {directory for directory in directories if not _synced(tree, directory)}
    kept = [r for r in gone if any(_below(r.key, directory) for directory in unsynced)]
    index.drop(Identity(r.key, r.mtime_ns) for r in gone if r not in kept)
    return Swept(removed, size_bytes, failed + len(kept))


def _synced(tree: Tree, directory: str) -> bool:
    try:
        tree.sync_directory(directory)
    except FileNotFoundError:
        return True  # removed by another, which then answers for the one above
    except OSError:
        return False
    return True


def _below(key: str, directory: str) -> bool:
    return not directory or key.startswith(f"{directory}/")
