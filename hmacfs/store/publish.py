"""Publication: an unnamed file becomes a named one, durably, many at a time.

The law: file synced, then its row committed, then its name linked, then the directories synced,
and only then the answer. A crash between leaves at most a row without a file, which readers never
see and `reconcile` drops; never a name without its bytes, signed type and expiry. A sync that has
failed is not tried again: the kernel may have dropped the pages, and a second one would lie.

Two ways lead there. Threads do it for whatever must be synced or may be slow; where nothing is
synced and the storage is quick (`policy.loop_gate`), the event loop itself does it at the end of a turn
for all that the turn has brought.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Durability
from hmacfs.policy import os_errors
from hmacfs.store import faults
from hmacfs.store.directories import SYNC_THREADS, Directories
from hmacfs.store.keys import path_of
from hmacfs.store.upload import FailPending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import Slot
    from hmacfs.store.files import Tree
    from hmacfs.store.index import Identity, Index
    from hmacfs.store.indexes import Connections
    from hmacfs.store.upload import PendingPublication

# Bounds how long the first of a batch waits for the last.
BATCH_UPLOADS: Final = 256
# Rows added on the loop after which a thread moves them from SQLite's log into the index proper.
CHECKPOINT_ROWS: Final = 256


class _WouldBlock(Exception):  # noqa: N818 - no error yet
    """A name cannot be given now, but perhaps in a moment; a thread can wait for that."""


class _Left(NamedTuple):
    """What is left over when a batch has been given its names."""

    rows: list[Identity]
    """Rows without a file."""
    misplaced: list[PendingPublication]
    """Files that lie on another file system than their name; they have not ended."""


class PublisherContext(Protocol):
    """What a publisher asks of its store, on its threads."""

    def delays(self) -> Iterator[float]:
        """Return the waits before each further try of what may pass by itself."""

    def copy(self, file: Descriptor, key: str, length: int) -> Descriptor:
        """Return an unnamed copy of an open file on the file system of `key`. Raises Refused, OSError."""

    def note_aside(self, seconds: float) -> None:
        """Note how long rows and names took that the loop could have added and given."""


class Publisher:
    """The threads that publish, and the only writers of this process's index."""

    def __init__(
        self,
        tree: Tree,
        connections: Connections,
        durability: Durability,
        clock_ns: Callable[[], int],
        context: PublisherContext,
    ) -> None:
        """Publish into `tree` and by two of the `connections`, which the publisher closes, not the tree."""
        self._tree = tree
        self._index, self._quick, _ = connections
        self._durability = durability
        self._clock_ns = clock_ns
        self._context = context
        self._directories = Directories(tree)
        self._syncs = ThreadPoolExecutor(SYNC_THREADS, "hmacfs-sync")
        self._writer = ThreadPoolExecutor(1, "hmacfs-index")
        self._waiting: deque[PendingPublication] = deque()
        self._unmoved = 0  # rows that `quick` has added since they were last moved
        self._moving = False

    def close(self) -> None:
        """Publish what has been submitted, then end the threads."""
        self._syncs.shutdown()
        self._writer.shutdown()
        self._directories.close()
        self._quick.close()
        self._index.close()

    def set_durability(self, durability: Durability) -> Future[None]:
        """Keep another promise from the next upload on."""
        self._durability = durability
        return self._writer.submit(self._index.set_durability, durability)

    def use(self, connections: Connections) -> None:
        """Write by other connections from now on, and close those before; on the event loop."""
        self._quick.close()
        self._quick = connections.quick
        self._writer.submit(self._use, connections.writer)

    def _use(self, index: Index) -> None:
        self._index.close()
        self._index = index

    @property
    def syncs(self) -> bool:
        """Whether an upload must be synced, which takes threads."""
        return self._durability is Durability.FULL

    def settle(self, slot: Slot) -> None:
        """Make the name of a file as durable as promised; blocks. Raises OSError."""
        if self.syncs and (error := self._directories.settle_one(slot)) is not None:
            raise error

    def submit(self, upload: PendingPublication) -> None:
        """Have threads publish `upload` and then tell what waits for it."""
        self._syncs.submit(self._sync, upload)

    def drop(self, identities: Iterable[Identity]) -> Future[None]:
        """Remove rows from the index; raises sqlite3.Error."""
        return self._writer.submit(self._index.drop, identities)

    def seal(self, upload: PendingPublication) -> None:
        """Make one file whole and, if it must be, durable. Raises Refused or OSError."""
        path_of(upload.stored.key)
        fd = upload.file.fileno()
        if upload.stored.size < upload.reserved:
            if os.fstat(fd).st_size != upload.stored.size:
                raise Refused(errors.SIZE_MISMATCH)
            os.ftruncate(fd, upload.stored.size)  # gives the surplus reservation back
        now_ns = self._clock_ns()
        os.utime(fd, ns=(now_ns, now_ns))
        if self.syncs:
            # Not fdatasync(2), which need not write the mtime; and the mtime names the row. On
            # a new file both cost the same, since its size must be written either way.
            os.fsync(fd)
        found = os.fstat(fd)
        if found.st_size != upload.stored.size:
            raise Refused(errors.SIZE_MISMATCH)
        upload.seal(found.st_mtime_ns, found.st_ino)  # as coarse as this filesystem keeps it

    def publish_on_loop(self, batch: list[PendingPublication], is_quick: Callable[[float], bool]) -> None:
        """Publish sealed files that need no sync, on the event loop, and tell what waits for them.

        Threads do it while another writer holds the index, since they may wait, and what is left of the
        batch as soon as `is_quick`, asked after each step, says no.
        """
        began = time.monotonic()
        with FailPending(batch):
            added = None if self._moving else self._add_quickly(batch)
            if added is None:
                self._waiting.extend(batch)
                self._writer.submit(self._publish_waiting)
                return
            left = _Left([], [])
            index_s, done = time.monotonic() - began, 0
            while done < len(batch) and is_quick(index_s):
                index_s = 0.0
                try:
                    self._name(batch[done : done + 1], added[done : done + 1], None, left)
                except _WouldBlock:
                    break
                done += 1
            if left.rows:
                self.drop(left.rows)
            named, rest = batch[:done], batch[done:]
            batch = [upload for upload in named if upload not in left.misplaced]
            for upload in left.misplaced:
                self._carry_soon(upload)
            if rest:
                self._writer.submit(self._publish, rest, added[done:])
        for upload in batch:
            upload.tell()

    def _add_quickly(self, batch: list[PendingPublication]) -> list[bool] | None:
        """Return for each upload whether its row is new; None if another writer is at it."""
        try:
            added = self._quick.add(upload.stored for upload in batch)
        except sqlite3.OperationalError as error:
            if faults.primary(error) != sqlite3.SQLITE_BUSY:
                raise
            return None
        self._unmoved += len(batch)
        if self._unmoved >= CHECKPOINT_ROWS:
            self._unmoved = 0
            self._moving = True
            self._writer.submit(self._checkpoint)
        return added

    def _checkpoint(self) -> None:
        """Move rows from SQLite's log into the index, which syncs both, before others are added.

        Beside a writer that never rests it would never come to the log's end, and that would grow.
        """
        try:
            # The rows are safe in the log. What cannot be moved now is moved the next time.
            with contextlib.suppress(sqlite3.Error):
                self._index.checkpoint()
        finally:
            self._moving = False

    def _sync(self, upload: PendingPublication) -> None:
        """Seal one file, in parallel with others, and queue it for its name."""
        with FailPending((upload,)):
            self.seal(upload)
            self._queue(upload)
            return
        _tell([upload])

    def _queue(self, upload: PendingPublication) -> None:
        self._waiting.append(upload)
        self._writer.submit(self._publish_waiting)

    def _carry_soon(self, upload: PendingPublication) -> None:
        with FailPending((upload,)):
            self._syncs.submit(self._carry, upload)
            return
        _tell([upload])  # the store is being closed

    def _carry(self, upload: PendingPublication) -> None:
        """Copy a file to the file system that its name is on, and queue it once more.

        So ends an upload whose parts were kept in the private directory, where that lies on another file
        system than the endpoint's directory; and one during which another was mounted there.
        """
        with FailPending((upload,)):
            copy = self._context.copy(upload.file, upload.stored.key, upload.stored.size)
            first = upload.carry_over(copy)
            try:
                self._writer.submit(self._index.drop, [upload.identity]).result()
                self.seal(upload)
                # So that a request after a crash knows the file that it finds under the name for its own.
                os.utime(first.fileno(), ns=(upload.stored.mtime_ns, upload.stored.mtime_ns))
                if self.syncs:
                    os.fsync(first.fileno())
            finally:
                first.close()
            self._queue(upload)
            return
        _tell([upload])

    def _publish_waiting(self) -> None:
        """Publish all that wait by now together; an earlier turn may have taken the caller's own."""
        batch: list[PendingPublication] = []
        while self._waiting and len(batch) < BATCH_UPLOADS:
            batch.append(self._waiting.popleft())
        if batch:
            self._publish(batch, None, full=self.syncs)

    def _publish(
        self, batch: list[PendingPublication], added: list[bool] | None, *, full: bool = False
    ) -> None:
        """Give a batch its rows, unless it has them, and its names, and tell what waits for them."""
        left = _Left([], [])
        began = time.monotonic()
        with FailPending(batch):
            if added is None:
                added = self._index.add(upload.stored for upload in batch)
            left = self._name(batch, added, self._context.delays(), _Left([], []), full=full)
        if not full:
            self._context.note_aside((time.monotonic() - began) / len(batch))
        _tell([upload for upload in batch if upload not in left.misplaced])
        for upload in left.misplaced:
            self._carry_soon(upload)
        if left.rows:
            # Nothing waits for this. If it fails, rows without a file stay: `reconcile`.
            with contextlib.suppress(sqlite3.Error):
                self._index.drop(left.rows)

    def _name(
        self,
        batch: list[PendingPublication],
        added: list[bool],
        delays: Iterator[float] | None,
        left: _Left,
        *,
        full: bool = False,
    ) -> _Left:
        """Return names to a batch that has its rows, and end each; add to what is left over, and give that.

        All of the batch share `delays`, so that it is not held up for longer than one upload may be.
        With None it is a batch of one, and _NotNow is raised for what may pass by itself.
        """
        linked: list[PendingPublication] = []
        for upload, new in zip(batch, added, strict=True):
            if upload.answer.cancelled() or not new:
                # Not new: the same name at the same nanosecond. The other one's row stays as it is.
                upload.fail(Refused(errors.EXISTS))
            elif (error := self._link(upload, delays)) is None:
                linked.append(upload)
                continue
            elif isinstance(error, OSError) and error.errno == errno.EXDEV and not upload.carried:
                left.misplaced.append(upload)
                continue
            else:
                upload.fail(error)
            if new:
                left.rows.append(upload.identity)
        failures = self._directories.settle(linked) if full else {}
        for upload in linked:
            if (error := failures.get(upload.stored.key)) is None:
                upload.close()
            else:
                if self._withdraw(upload):
                    left.rows.append(upload.identity)
                upload.fail(error)
        return left

    def _link(self, upload: PendingPublication, delays: Iterator[float] | None) -> Exception | None:
        try:
            self._tree.link(upload.file.fileno(), upload.stored.key, wait=delays is not None)
        except Refused as refused:
            return refused
        except OSError as error:
            left = self._link_again(upload, error, delays)
            if left is not None:
                self._prune(upload.slot)  # directories made for a name that did not come to be
            return left
        return None

    def _link_again(
        self, upload: PendingPublication, error: OSError, delays: Iterator[float] | None
    ) -> OSError | None:
        """Try again what may pass by itself; give the error that stays."""
        while error.errno in os_errors.PASSING:
            if delays is None:
                raise _WouldBlock
            if (delay_s := next(delays, None)) is None:
                break
            time.sleep(delay_s)
            try:
                self._tree.link(upload.file.fileno(), upload.stored.key)
            except OSError as another:
                error = another
            else:
                return None
        return error

    def _withdraw(self, upload: PendingPublication) -> bool:
        """Take the name away again; whether it is gone, for a file that stays must keep its row."""
        try:
            self._tree.unlink(upload.stored.key, mtime_ns=upload.stored.mtime_ns)
        except (OSError, Refused):  # a broken disk; the upload has not been acknowledged
            return False
        self._prune(upload.slot)
        return True

    def _prune(self, slot: Slot) -> None:
        with contextlib.suppress(OSError, Refused):  # an empty directory does no harm
            self._tree.prune(slot.key, frozenset((slot.endpoint.directory,)))


def _tell(batch: list[PendingPublication]) -> None:
    """Tell what waits for these, from a thread."""
    if not batch:
        return
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
        batch[0].answer.get_loop().call_soon_threadsafe(_tell_each, batch)


def _tell_each(batch: list[PendingPublication]) -> None:
    for upload in batch:
        upload.tell()
