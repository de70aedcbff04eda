"""What readers ask of one worker's store: open files, and what the index knows of them.

A file that the kernel has at hand is opened on the event loop; a disk is asked on threads of its own, so
that downloads do not wait behind uploads. Owns the reader's connection to the index.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import NANOSECONDS
from hmacfs.policy import os_errors
from hmacfs.store import faults, metadata_cache
from hmacfs.store.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.model import File, StoredFile
    from hmacfs.store.files import Tree
    from hmacfs.store.metadata_cache import FileMetadata

P = ParamSpec("P")
T = TypeVar("T")

# Files and names that the kernel does not know of yet.
OPEN_THREADS: Final = 4


class Lookup:
    """The files of one tree as readers see them. Its coroutines belong to one event loop."""

    def __init__(
        self,
        tree: Tree,
        clock_ns: Callable[[], int],
        ttl_s: float | None,
        damaged: Callable[[sqlite3.Error], None],
    ) -> None:
        """Ask no index until `use` gives one; `damaged` is told of an answer that it cannot recover from."""
        self._tree = tree
        self._clock_ns = clock_ns
        self.ttl_s = ttl_s
        """Age at which a file without an expiry of its own must be gone; None: never."""
        self._damaged = damaged
        self._reader = Index.absent()
        self._cache = metadata_cache.MetadataCache()
        self._reading = ThreadPoolExecutor(1, "hmacfs-lookup")
        self._opening = ThreadPoolExecutor(OPEN_THREADS, "hmacfs-open")

    def close(self) -> None:
        """Finish what has been asked and close the index."""
        self._reading.shutdown()
        self._opening.shutdown()
        self._reader.close()

    def use(self, reader: Index) -> None:
        """Ask another connection from now on, and close the one before."""
        self._reading.submit(self._reader.close)
        self._reader = reader
        self._cache = metadata_cache.MetadataCache()

    def open(self, key: str) -> File:
        """Open a file for reading. The caller closes it. Raises Refused; BlockingIOError: a disk is asked."""
        return self._tree.open(key, cached=True)

    async def open_aside(self, key: str) -> File:
        """Open a file for reading, on a thread if a disk is asked. The caller closes it. Raises Refused."""
        try:
            return self.open(key)
        except BlockingIOError:
            # One that nothing waits for any more is closed with its last reference.
            return await self._run(self._opening, self._tree.open, key)

    async def size_of(self, key: str) -> int | None:
        """Return the bytes of a file that stands at `key`; None if there is none. Raises Refused."""
        try:
            try:
                found = self._tree.look(key, cached=True)
            except BlockingIOError:
                found = await self._run(self._opening, self._tree.look, key)
        except OSError as error:
            self._tree.note_denial(key, error)
            raise os_errors.reading(error) from None
        return None if found is None else found.st_size

    def cached(self, key: str, file: File) -> FileMetadata | None:
        """Return what is known of an open file, or None: then `fetch` it. Quick.

        Raises Refused NOT_FOUND if the file has expired; the caller still closes it.
        """
        known = self._cache.get(key, file)
        return None if known is None else self._judge(known)

    async def fetch(self, key: str, file: File) -> FileMetadata:
        """Return what the index knows of an open file. Raises Refused, as `cached` does, or BUSY.

        Of an index that is broken nothing is known: then its files are served as those without a row are.
        """
        reader = self._reader
        if not reader.is_open:
            return self._judge(metadata_cache.describe(None, file.mtime_ns))
        try:
            stored = await self._run(self._reading, reader.lookup, key, file.mtime_ns)
        except sqlite3.Error as error:
            if faults.primary(error) not in faults.LASTING:
                raise faults.indexing(error) from error
            if reader is self._reader:
                self._damaged(error)
            return self._judge(metadata_cache.describe(None, file.mtime_ns))
        known = metadata_cache.describe(stored, file.mtime_ns)
        self._cache.put(key, file.mtime_ns, file.inode, known)
        return self._judge(known)

    async def sha256_of(self, key: str) -> bytes | None:
        """Return the SHA-256 of the file that stands at `key`; None if it is not known, or nothing stands.

        Raises Refused as `open` and `fetch` otherwise do.
        """
        try:
            file = await self.open_aside(key)
            try:
                known = self.cached(key, file) or await self.fetch(key, file)
            finally:
                file.descriptor.close()
        except Refused as refused:
            if refused.refusal is not errors.NOT_FOUND:
                raise
            return None
        return known.sha256

    async def record(self, key: str) -> StoredFile | None:
        """Return what the index holds of the file at `key`, or None.

        Raises Refused as `open` does, BUSY, or what a failing index amounts to.
        """
        file = await self.open_aside(key)
        file.descriptor.close()
        try:
            return await self._run(self._reading, self._reader.lookup, key, file.mtime_ns)
        except sqlite3.Error as error:
            raise faults.indexing(error) from error

    def learn(self, stored: StoredFile, inode: int) -> None:
        """Take note of a file that was just published."""
        known = metadata_cache.describe(stored, stored.mtime_ns)
        self._cache.put(stored.key, stored.mtime_ns, inode, known)

    def _judge(self, known: FileMetadata) -> FileMetadata:
        """Apply the site's rules to what the index says."""
        expires = known.expires
        if expires is None and self.ttl_s is not None:
            expires = known.created + self.ttl_s
            known = known._replace(expires=expires)
        # The sweeper may come later; what must be gone is not read.
        if expires is not None and expires <= self._clock_ns() / NANOSECONDS:
            raise Refused(errors.NOT_FOUND)
        return known

    @staticmethod
    async def _run(pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(pool.submit(work, *args, **kwargs))
