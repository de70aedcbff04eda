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
from typing import TYPE_CHECKING, Final, ParamSpec, Self, TypeVar

from hmacfs import errors
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.policy import loop_gate, os_errors
from hmacfs.store import faults, indexes, metadata_cache, reconcile, start, state_file, sweep
from hmacfs.store import part as parts
from hmacfs.store.condition import Condition, index_path
from hmacfs.store.files import unheard
from hmacfs.store.index import Identity, Index
from hmacfs.store.publish import Publisher
from hmacfs.store.resilience import Resilience, untold
from hmacfs.store.room import Room
from hmacfs.store.rules import FileMetadata
from hmacfs.store.sessions import Sessions
from hmacfs.store.upload import NANO, FailPending

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.model import Dependency, File, Record, Slot
    from hmacfs.store.condition import CheckResult
    from hmacfs.store.files import Tree
    from hmacfs.store.part import Draft, Part
    from hmacfs.store.reconcile import Reconciled
    from hmacfs.store.resilience import Tell
    from hmacfs.store.rules import Rules
    from hmacfs.store.sweep import Swept
    from hmacfs.store.upload import PendingPublication, PublishedFile

P = ParamSpec("P")
T = TypeVar("T")

# Reservations, removals and the closing of dropped files; syncs have threads of their own, so
# that a few large files being synced do not keep small ones from beginning.
THREADS: Final = 8
# Files and names that the kernel does not know of yet: downloads must not wait behind uploads.
OPEN_THREADS: Final = 4


class Store:
    """One worker's door to the files. Its coroutines belong to one event loop."""

    def __init__(  # noqa: PLR0913 - only `open` calls it
        self,
        path: str,
        tree: Tree,
        rules: Rules,
        *,
        clock_ns: Callable[[], int],
        tell: Tell,
        barred: Callable[[str], None],
    ) -> None:
        """Own all that is given; `Store.open` makes it."""
        self._path = path
        self._tree = tree
        self._rules = rules
        self._barred = barred
        self._fault = ""
        writer, quick, self._reader = indexes.absent()
        self._can_ask = False  # whether the reader knows anything
        self._clock_ns = clock_ns
        self._recent = metadata_cache.MetadataCache()
        self._resilience = Resilience(rules, tell)
        self._publisher = Publisher(
            tree,
            writer,
            quick,
            rules.durability,
            clock_ns,
            self._resilience.delays,
            copy=self._copy,
            waited=self._waited_aside,
        )
        self._pace = loop_gate.Pace()
        self._waited_ns = tree.waited_ns()  # what of it `_pace` knows
        self._sealed: list[
            PendingPublication
        ] = []  # what this turn of the loop has brought, to be published at its end
        self._pool = ThreadPoolExecutor(THREADS, "hmacfs-store")
        self._reading = ThreadPoolExecutor(1, "hmacfs-lookup")
        self._opening = ThreadPoolExecutor(OPEN_THREADS, "hmacfs-open")
        self._upkeep = ThreadPoolExecutor(1, "hmacfs-upkeep")
        self._attending = ThreadPoolExecutor(1, "hmacfs-attend")
        self._stop = threading.Event()
        self.sessions = Sessions(
            tree,
            clock_ns,
            pool=self._pool,
            publish=self._publish,
            resilience=self._resilience,
            drop=self._drop,
        )
        """Uploads that may take many requests."""
        self.sessions.reconfigure(rules)
        self._condition = Condition(path, tree, self.sessions.folder, rules.durability)

    @classmethod
    def open(  # noqa: PLR0913 - who is told of what
        cls,
        path: str,
        rules: Rules,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        tell: Tell = untold,
        barred: Callable[[str], None] = unheard,
        denied: Callable[[str, str], None] = unheard,
    ) -> Self:
        """Open the storage at `path`, making it if need be; blocks.

        It is open as soon as files can be served from it; `attend` goes on from there. `barred` is told why
        uploads are refused, and "" when that is over; `denied` of each file that may not be read, and why.
        `clock_ns` gives wall-clock nanoseconds; `tell` hears on the loop of breakers.
        Raises StorageError, whose words are for the operator.
        """
        tree = start.open_root(
            path,
            file_mode=rules.file_mode,
            directory_mode=rules.directory_mode,
            directories=rules.directories,
        )
        tree.denied = denied
        store = cls(path, tree, rules, clock_ns=clock_ns, tell=tell, barred=barred)
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
        for upload in self._sealed:  # the loop has ended before its turn did, and so has who waited
            upload.close()
        self._publisher.close()
        self._pool.shutdown()
        self._reading.shutdown()
        self._opening.shutdown()
        self._reader.close()
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
        self._publisher.set_durability(rules.durability)
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
            writer, quick, reader = outcome.connections
            self._publisher.use(writer, quick)
            self._reading.submit(self._reader.close)
            self._reader = reader
            self._can_ask = reader.is_open
            self._recent = metadata_cache.MetadataCache()
        self._resilience.bar(outcome.fault)
        words = str(outcome.fault or "")
        if words != self._fault:
            self._fault = words
            self._barred(words)

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
        """Open a file for reading. The caller closes it. Raises Refused; BlockingIOError: use `fetch`."""
        return self._tree.open(key, cached=True)

    async def open_file_aside(self, key: str) -> File:
        """Open a file for reading, on a thread if a disk is asked. The caller closes it. Raises Refused."""
        try:
            return self.open_file(key)
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

    def cached_metadata(self, key: str, file: File) -> FileMetadata | None:
        """Return what is known of an open file, or None: then ask `learn`. Quick.

        Raises Refused NOT_FOUND if the file has expired; the caller still closes it.
        """
        facts = self._recent.get(key, file)
        return None if facts is None else self._judge(facts)

    async def fetch_metadata(self, key: str, file: File) -> FileMetadata:
        """Return what the index knows of an open file. Raises Refused, as `known` does, or BUSY.

        Of an index that is broken nothing is known: then its files are served as those without a row are.
        """
        if not self._can_ask:
            return self._judge(metadata_cache.facts_of(None, file.mtime_ns))
        reader = self._reader
        try:
            record = await self._run(self._reading, reader.lookup, key, file.mtime_ns)
        except sqlite3.Error as error:
            if faults.primary(error) not in faults.LASTING:
                raise faults.indexing(error) from error
            if reader is self._reader:
                self._go_by(self._condition.shut(error))
            return self._judge(metadata_cache.facts_of(None, file.mtime_ns))
        facts = metadata_cache.facts_of(record, file.mtime_ns)
        self._recent.put(key, file.mtime_ns, file.inode, facts)
        return self._judge(facts)

    async def sha256_of(self, key: str) -> bytes | None:
        """Return the SHA-256 of the file that stands at `key`; None if it is not known, or nothing stands.

        Raises Refused as `find` and `learn` otherwise do.
        """
        try:
            file = await self.open_file_aside(key)
            try:
                known = self.cached_metadata(key, file) or await self.fetch_metadata(key, file)
            finally:
                file.descriptor.close()
        except Refused as refused:
            if refused.refusal is not errors.NOT_FOUND:
                raise
            return None
        return known.sha256

    async def record(self, slot: Slot) -> Record | None:
        """Return what the index holds of the file at `slot`, which then is as durable as any, or None.

        Raises Refused as `find` does, BUSY, or what a failing disk amounts to.
        """
        file = await self.open_file_aside(slot.key)
        file.descriptor.close()
        try:
            found = await self._run(self._reading, self._reader.lookup, slot.key, file.mtime_ns)
            if found is not None:  # whoever published it may not have come to its directories yet
                await self._run(self._pool, self._publisher.settle, slot)
        except sqlite3.Error as error:
            raise faults.indexing(error) from error
        except OSError as error:
            raise os_errors.writing(error) from error
        return found

    async def begin(self, slot: Slot | None, length: int, *, announced: bool = True) -> Part:
        """Begin an upload of `length` bytes to `slot`; a form sets the part's slot later.

        If the length is not `announced` it is a bound, and room is taken as the bytes come.

        Raises Refused: EXISTS, DISK_FULL, NAME_TOO_LONG, BUSY, STORAGE_FAILED, STORAGE_UNAVAILABLE.
        The part is to be used as a context, which also notes what became of it. Where only a bound is known
        `commit` is told the size.
        """
        if self._resilience.troubled:
            self._resilience.admit()
        try:
            if self._pace.on_loop(time.monotonic(), length):
                began = time.monotonic()
                try:
                    draft = self._reserve(slot, length, announced=announced)
                finally:
                    self._is_quick(time.monotonic() - began)
            else:
                draft = await self._reserve_aside(slot, length, announced=announced)
        except OSError as error:
            draft = await self._try_again(error, slot, length, announced=announced)
        return parts.Part(
            draft, slot, length, publish=self._publish, drop=self._drop, refused=self._resilience.fail
        )

    async def remove(self, slot: Slot) -> None:
        """Remove a file for good. Raises Refused: NOT_FOUND if there is none, STORAGE_FAILED.

        STORAGE_UNAVAILABLE while nothing can be changed.
        """
        if self._resilience.barred:
            raise self._resilience.refusal()
        identity = await self._run(self._pool, self._remove, slot)
        # The file is gone, which is what was asked for; a row that stays is dropped by `reconcile`.
        with contextlib.suppress(sqlite3.Error):
            await asyncio.wrap_future(self._publisher.drop([identity]))

    async def sweep(self) -> Swept | None:
        """Remove what has expired; None if another process is at it. Raises Refused."""
        rules = self._rules
        return await self._keep_up(
            lambda index: sweep.sweep(
                self._tree,
                index,
                now=self._now(),
                ttl_s=rules.file_ttl_s,
                keep=rules.directories,
                stop=self._stop,
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
        await self._run(self._pool, state_file.write, self._tree.private_fd, name, note)

    def _now(self) -> float:
        return self._clock_ns() / NANO

    def _judge(self, facts: metadata_cache.CachedMetadata) -> FileMetadata:
        """Apply the site's rules to what the index says."""
        expires = facts.expires
        if expires is None and self._rules.file_ttl_s is not None:
            expires = facts.created + self._rules.file_ttl_s
        # The sweeper may come later; nobody reads what must be gone.
        if expires is not None and expires <= self._now():
            raise Refused(errors.NOT_FOUND)
        return FileMetadata(facts.content_type, expires, facts.sha256)

    def _reserve(self, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        return parts.reserve(
            self._tree, slot, length, announced=announced, min_free_bytes=self._rules.min_free_bytes
        )

    async def _reserve_aside(self, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        # A reservation that nothing waits for any more is closed with its last reference.
        return await self._run(self._pool, self._reserve_timed, slot, length, announced=announced)

    def _copy(self, file: Descriptor, key: str, length: int) -> Descriptor:
        """Return a copy of an open file where it can be named `key`. Raises Refused DISK_FULL, OSError."""
        copy = Descriptor(self._tree.unnamed(key))
        try:
            room = Room(self._tree, copy, start=0, most=length, min_free_bytes=self._rules.min_free_bytes)
            room.take_all()
            self._tree.copy(file.fileno(), copy.fileno(), length)
        except BaseException:
            copy.close()
            raise
        return copy

    def _reserve_timed(self, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        began = time.monotonic()
        try:
            return self._reserve(slot, length, announced=announced)
        finally:
            if length <= loop_gate.SMALL_BYTES:
                self._waited_aside(time.monotonic() - began)

    def _waited_aside(self, seconds: float) -> None:
        """Note how long a thread took for what the loop would do if the storage were quick."""
        if seconds >= loop_gate.STALL_S:
            self._pace.note_aside(time.monotonic(), seconds)

    async def _try_again(self, error: OSError, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        """Reserve after that has failed, if it may pass by itself. Raises Refused."""
        for delay_s in self._resilience.delays():
            if error.errno not in os_errors.PASSING:
                break
            await asyncio.sleep(delay_s)
            try:
                return await self._reserve_aside(slot, length, announced=announced)
            except OSError as again:
                error = again
        refused = os_errors.writing(error)
        self._resilience.fail(refused)
        raise refused

    def _is_quick(self, took_s: float = 0.0) -> bool:
        """Take into account what the loop has waited for since this was last asked; say if it may go on.

        `took_s` is the time that the last step has taken, the index or anything else in it.
        """
        now = time.monotonic()
        if took_s >= loop_gate.STALL_S:
            self._pace.note(now, took_s)
        waited_ns = self._tree.waited_ns()
        if waited_ns != self._waited_ns:
            self._pace.note(now, (waited_ns - self._waited_ns) / NANO)
            self._waited_ns = waited_ns
        return self._pace.on_loop(now, 0)

    async def _publish(self, upload: PendingPublication) -> PublishedFile:
        if self._publisher.syncs or not self._pace.on_loop(time.monotonic(), upload.reserved):
            self._publisher.submit(upload)
        else:
            self._publish_soon(upload)
        stored = await upload.answer
        if self._resilience.troubled:
            self._resilience.succeed()
        self._recent.put(stored.key, stored.mtime_ns, stored.inode, upload.facts())
        return stored

    def _publish_soon(self, upload: PendingPublication) -> None:
        """Publish `upload` on the loop, together with all others of this turn."""
        began = time.monotonic()
        with FailPending((upload,)):
            self._publisher.seal(upload)
            self._is_quick(time.monotonic() - began)
            if not self._sealed:
                upload.answer.get_loop().call_soon(self._end_turn)
            self._sealed.append(upload)
            return
        upload.tell()

    def _end_turn(self) -> None:
        batch, self._sealed = self._sealed[: loop_gate.TURN_UPLOADS], self._sealed[loop_gate.TURN_UPLOADS :]
        if self._sealed:
            self._sealed[0].answer.get_loop().call_soon(self._end_turn)
        self._publisher.publish_on_loop(batch, self._is_quick)
        self._is_quick()

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

    def _drop(self, file: Descriptor) -> None:
        """Close the file of a dropped part; giving back gigabytes takes its time."""
        try:
            self._pool.submit(file.close)
        except RuntimeError:  # the store is closed already
            file.close()

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
