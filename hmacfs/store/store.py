"""The store as the rooms above see it: find, know, begin, remove, and the upkeep in the background.

What blocks runs on the store's own threads. One writer and one reader hold the index; the
upkeep has a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, Self, TypeVar

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import NANOSECONDS
from hmacfs.policy import os_errors
from hmacfs.store import faults, reconcile, start, state_file, sweep
from hmacfs.store.condition import Condition, index_path
from hmacfs.store.files import unheard
from hmacfs.store.index import Identity, Index
from hmacfs.store.lookup import Lookup
from hmacfs.store.resilience import Resilience, untold
from hmacfs.store.sessions import Sessions
from hmacfs.store.sweep import Due
from hmacfs.store.uploads import UploadScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hmacfs.model import Dependency, File, Slot, StoredFile
    from hmacfs.store.condition import CheckResult
    from hmacfs.store.files import Tree
    from hmacfs.store.metadata_cache import FileMetadata
    from hmacfs.store.part import Part
    from hmacfs.store.reconcile import Reconciled
    from hmacfs.store.resilience import Tell
    from hmacfs.store.rules import Rules
    from hmacfs.store.sweep import Swept

P = ParamSpec("P")
T = TypeVar("T")


class StoreObserver(NamedTuple):
    """Who is told of what, on the event loop but for `denied`."""

    tell: Tell = untold
    """Told of breakers that open and close."""
    barred: Callable[[str], None] = unheard
    """Told why uploads are refused, and "" when that is over."""
    denied: Callable[[str, str], None] = unheard
    """Told of each file that may not be read, and why; on any thread."""


UNOBSERVED = StoreObserver()


class Store:
    """One worker's door to the files. Its coroutines belong to one event loop."""

    def __init__(
        self, path: str, tree: Tree, rules: Rules, clock_ns: Callable[[], int], observer: StoreObserver
    ) -> None:
        """Own all that is given; `Store.open` makes it."""
        self._path = path
        self._tree = tree
        self._rules = rules
        self._barred = observer.barred
        self._fault = ""
        self._clock_ns = clock_ns
        self._resilience = Resilience(rules, observer.tell)
        self._lookup = Lookup(tree, clock_ns, rules.file_ttl_s, self._shut)
        self._uploads = UploadScheduler(tree, rules, clock_ns, self._lookup, self._resilience)
        self._upkeep = ThreadPoolExecutor(1, "hmacfs-upkeep")
        self._attending = ThreadPoolExecutor(1, "hmacfs-attend")
        self._stop = threading.Event()
        self.sessions = Sessions(tree, clock_ns, self._uploads.pool, self._uploads, self._resilience)
        """Uploads that may take many requests."""
        self.sessions.reconfigure(rules)
        self._condition = Condition(path, tree, self.sessions.folder, rules.durability)

    @classmethod
    def open(
        cls,
        path: str,
        rules: Rules,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        observer: StoreObserver = UNOBSERVED,
    ) -> Self:
        """Open the storage at `path`, making it if need be; blocks.

        It is open as soon as files can be served from it; `attend` goes on from there. `clock_ns` gives
        wall-clock nanoseconds. Raises StorageError, whose words are for the operator.
        """
        tree = start.open_root(
            path,
            file_mode=rules.file_mode,
            directory_mode=rules.directory_mode,
            directories=rules.directories,
        )
        tree.denied = observer.denied
        store = cls(path, tree, rules, clock_ns, observer)
        outcome = store._condition.look()
        if isinstance(outcome.fault, start.Unsuitable):
            store.close()
            raise outcome.fault
        store._go_by(outcome)
        return store

    def close(self) -> None:
        """Finish what has been submitted and let go of everything; blocks."""
        self._stop.set()
        self._upkeep.shutdown(cancel_futures=True)
        self._attending.shutdown(cancel_futures=True)
        self._uploads.close()
        self._lookup.close()
        self.sessions.close()
        self._tree.close()

    @property
    def root_fd(self) -> int:
        """The storage directory, below which `_hot` looks whether a file is still what it was."""
        return self._tree.root_fd

    def reconfigure(self, rules: Rules) -> None:
        """Go by other rules from the next request on."""
        self._rules = rules
        self._tree.file_mode = rules.file_mode
        self._tree.directory_mode = rules.directory_mode
        self._tree.hold(rules.directories)
        self._condition.durability = rules.durability
        self._lookup.ttl_s = rules.file_ttl_s
        self._uploads.rules = rules
        self._uploads.publisher.set_durability(rules.durability)
        self._resilience.adopt(rules)
        self.sessions.reconfigure(rules)

    async def attend(self) -> None:
        """Look after what uploads need, and refuse them as long as it is not there.

        To be done every second: that is how soon it is noticed if something is removed from under the server,
        and how soon what was missing is taken into use.
        """
        self._go_by(await self._run(self._attending, self._condition.look))

    def _go_by(self, outcome: CheckResult) -> None:
        if outcome.connections is not None:
            self._uploads.publisher.use(outcome.connections)
            self._lookup.use(outcome.connections.reader)
        self._resilience.bar(outcome.fault)
        words = str(outcome.fault or "")
        if words != self._fault:
            self._fault = words
            self._barred(words)

    def _shut(self, error: sqlite3.Error) -> None:
        self._go_by(self._condition.shut(error))

    @property
    def fault(self) -> str:
        """Why uploads are refused, for the operator; "" if they are not."""
        return self._fault

    def inodes(self) -> tuple[int, ...]:
        """Return the inodes of the index's files that are open, as `health` compares them; 0 for none."""
        return self._condition.inodes()

    def refuses(self, dependency: Dependency) -> bool:
        """Say whether uploads are refused now, because `dependency` keeps failing."""
        return self._resilience.refuses(dependency)

    def open_file(self, key: str) -> File:
        """Open a file for reading. The caller closes it. Raises Refused; BlockingIOError: ask a thread."""
        return self._lookup.open(key)

    def open_file_aside(self, key: str) -> Coroutine[None, None, File]:
        """Open a file for reading, on a thread if a disk is asked. The caller closes it. Raises Refused."""
        return self._lookup.open_aside(key)

    def size_of(self, key: str) -> Coroutine[None, None, int | None]:
        """Return the bytes of a file that stands at `key`; None if there is none. Raises Refused."""
        return self._lookup.size_of(key)

    def cached_metadata(self, key: str, file: File) -> FileMetadata | None:
        """Return what is known of an open file, or None: then `fetch_metadata`. Quick.

        Raises Refused NOT_FOUND if the file has expired; the caller still closes it.
        """
        return self._lookup.cached(key, file)

    def fetch_metadata(self, key: str, file: File) -> Coroutine[None, None, FileMetadata]:
        """Return what the index knows of an open file. Raises Refused, as `cached_metadata` does, or BUSY.

        Of an index that is broken nothing is known: then its files are served as those without a row are.
        """
        return self._lookup.fetch(key, file)

    def sha256_of(self, key: str) -> Coroutine[None, None, bytes | None]:
        """Return the SHA-256 of the file that stands at `key`; None if it is not known, or nothing stands.

        Raises Refused as `open_file_aside` and `fetch_metadata` otherwise do.
        """
        return self._lookup.sha256_of(key)

    async def record(self, slot: Slot) -> StoredFile | None:
        """Return what the index holds of the file at `slot`, which then is as durable as any, or None.

        Raises Refused as `open_file_aside` does, BUSY, or what a failing disk amounts to.
        """
        found = await self._lookup.record(slot.key)
        if found is not None:  # whoever published it may not have come to its directories yet
            try:
                await self._run(self._uploads.pool, self._uploads.publisher.settle, slot)
            except OSError as error:
                raise os_errors.writing(error) from error
        return found

    def begin(self, slot: Slot | None, length: int, *, announced: bool = True) -> Coroutine[None, None, Part]:
        """Begin an upload of `length` bytes to `slot`; a form sets the part's slot later.

        If the length is not `announced` it is a bound, and room is taken as the bytes come.

        Raises Refused: EXISTS, DISK_FULL, NAME_TOO_LONG, BUSY, STORAGE_FAILED, STORAGE_UNAVAILABLE.
        The part is to be used as a context, which also notes what became of it.
        """
        return self._uploads.begin(slot, length, announced=announced)

    async def remove(self, slot: Slot) -> None:
        """Remove a file for good. Raises Refused: NOT_FOUND if there is none, STORAGE_FAILED.

        STORAGE_UNAVAILABLE while nothing can be changed.
        """
        if self._resilience.barred:
            raise self._resilience.refusal()
        identity = await self._run(self._uploads.pool, self._remove, slot)
        # The file is gone, which is what was asked for; a row that stays is dropped by `reconcile`.
        with contextlib.suppress(sqlite3.Error):
            await asyncio.wrap_future(self._uploads.publisher.drop([identity]))

    async def sweep(self) -> Swept | None:
        """Remove what has expired; None if another process is at it. Raises Refused."""
        rules = self._rules
        return await self._keep_up(
            lambda index: sweep.sweep(
                self._tree, index, Due(self._now(), rules.file_ttl_s, rules.directories), self._stop
            )
        )

    async def sweep_sessions(self) -> int:
        """Drop unfinished uploads that nobody goes on with; give how many. Raises Refused."""
        try:
            return await self._run(self._upkeep, self.sessions.sweep, self._stop)
        except OSError as error:
            raise os_errors.writing(error) from error

    async def reconcile(self) -> Reconciled | None:
        """Make index and tree agree; None if another process is at it. Raises Refused."""
        return await self._keep_up(
            lambda index: reconcile.reconcile(self._tree, index, now=self._now(), stop=self._stop)
        )

    def load_state(self, name: str) -> bytes:
        """Return what `remember` has kept under `name`; nothing if there is nothing."""
        return state_file.read(self._tree.private_fd, name)

    async def save_state(self, name: str, note: bytes) -> None:
        """Keep a small `note` for the next start, if that can be. Raises OSError."""
        if self._resilience.barred:
            return
        await self._run(self._uploads.pool, state_file.write, self._tree.private_fd, name, note)

    def _now(self) -> float:
        return self._clock_ns() / NANOSECONDS

    def _remove(self, slot: Slot) -> Identity:
        try:
            removed = self._tree.unlink(slot.key)
            if removed is None:
                raise Refused(errors.NOT_FOUND)
            # Synced whatever the durability: a file that comes back has lost its signed expiry.
            self._tree.sync_directory(self._tree.prune(slot.key, self._rules.directories))
        except OSError as error:
            raise os_errors.writing(error) from None
        return Identity(slot.key, removed.st_mtime_ns)

    async def _keep_up(self, work: Callable[[Index], T]) -> T | None:
        """Run upkeep on its own thread with its own connection; None while nothing can be changed."""
        if self._resilience.barred:
            return None

        def run() -> T:
            index = Index.open(index_path(self._path), self._rules.durability)
            with contextlib.closing(index):
                return work(index)

        try:
            return await self._run(self._upkeep, run)
        except sqlite3.Error as error:
            raise faults.indexing(error) from error
        except OSError as error:
            raise os_errors.writing(error) from error

    @staticmethod
    async def _run(pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(pool.submit(work, *args, **kwargs))
