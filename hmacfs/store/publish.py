"""Publication: an unnamed file becomes a named one, durably, many at a time.

The law: file synced, then its row committed, then its name linked, then the directories synced,
and only then the answer. A crash between leaves at most a row without a file, which readers never
see and `reconcile` drops; never a name without its bytes, signed type and expiry. A sync that has
failed is not tried again: the kernel may have dropped the pages, and a second one would lie.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Durability, Record
from hmacfs.store import faults
from hmacfs.store.files import path_of
from hmacfs.store.index import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hmacfs.model import Slot
    from hmacfs.store.files import Tree
    from hmacfs.store.index import Index

NANO: Final = 10**9
CLOSED: Final = -1
# As many syncs as a disk's queue gains from; each waits in the kernel, not on the GIL.
SYNC_THREADS: Final = 8
# Bounds how long the first of a batch waits for the last.
BATCH_UPLOADS: Final = 256
# Of one directory's sync: its (device, inode); what went wrong; None if it is gone again.
Outcome: TypeAlias = tuple[int, int] | OSError | None


class Stored(NamedTuple):
    """What a published file is from now on."""

    key: str
    mtime_ns: int
    size: int
    inode: int


@dataclass(slots=True, kw_only=True)
class Upload:
    """A whole file on the way to its name. It owns `fd` from the moment it is made."""

    fd: int
    slot: Slot
    size: int
    reserved: int
    content_type: str | None
    owner: str
    expires: float | None
    digest: bytes | None
    answer: Future[Stored] = field(default_factory=Future)
    mtime_ns: int = 0
    inode: int = 0

    @property
    def identity(self) -> Identity:
        """What names this upload in the index."""
        return Identity(self.slot.key, self.mtime_ns)

    def record(self) -> Record:
        """Give the row that the index gets."""
        return Record(
            key=self.slot.key,
            mtime_ns=self.mtime_ns,
            size=self.size,
            content_type=self.content_type,
            owner=self.owner,
            digest=self.digest,
            created=self.mtime_ns / NANO,
            expires=self.expires,
        )

    def finish(self) -> None:
        """Close the file and say that it is published."""
        self._close()
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_result(Stored(self.slot.key, self.mtime_ns, self.size, self.inode))

    def fail(self, error: Exception) -> None:
        """Close the file, which vanishes unless it is linked, and say why."""
        self._close()
        if isinstance(error, OSError):
            error = faults.writing(error)
        elif isinstance(error, sqlite3.Error):
            error = faults.indexing(error)
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)

    def _close(self) -> None:
        fd, self.fd = self.fd, CLOSED
        os.close(fd)


class Publisher:
    """The threads that publish, and the only writer of this process's index."""

    def __init__(self, tree: Tree, index: Index, durability: Durability, clock_ns: Callable[[], int]) -> None:
        """Publish into `tree` and `index`; the publisher closes the index, not the tree."""
        self._tree = tree
        self._index = index
        self._durability = durability
        self._clock_ns = clock_ns
        self._directories = Directories(tree)
        self._syncs = ThreadPoolExecutor(SYNC_THREADS, "hmacfs-sync")
        self._writer = ThreadPoolExecutor(1, "hmacfs-index")
        self._waiting: deque[Upload] = deque()

    def close(self) -> None:
        """Publish what has been submitted, then end the threads."""
        self._syncs.shutdown()
        self._writer.shutdown()
        self._directories.close()
        self._index.close()

    def keep(self, durability: Durability) -> Future[None]:
        """Keep another promise from the next upload on."""
        self._durability = durability
        return self._writer.submit(self._index.keep, durability)

    def submit(self, upload: Upload) -> Future[Stored]:
        """Publish `upload`; its answer is a Stored or raises Refused."""
        self._syncs.submit(self._sync, upload)
        return upload.answer

    def drop(self, identities: Iterable[Identity]) -> Future[None]:
        """Remove rows from the index; raises sqlite3.Error."""
        return self._writer.submit(self._index.drop, identities)

    def _sync(self, upload: Upload) -> None:
        """Make one file whole and durable, in parallel with others, and queue it for its name."""
        with _answering(upload):
            path_of(upload.slot.key)
            if os.fstat(upload.fd).st_size != upload.size:
                raise Refused(errors.SIZE_MISMATCH)
            if upload.size < upload.reserved:
                os.ftruncate(upload.fd, upload.size)  # gives the surplus reservation back
            now_ns = self._clock_ns()
            os.utime(upload.fd, ns=(now_ns, now_ns))
            if self._durability is Durability.FULL:
                # Not fdatasync(2), which need not write the mtime; and the mtime names the row. On
                # a new file both cost the same, since its size must be written either way.
                os.fsync(upload.fd)
            found = os.fstat(upload.fd)
            upload.mtime_ns = found.st_mtime_ns  # as coarse as this filesystem keeps it
            upload.inode = found.st_ino
            self._waiting.append(upload)
            self._writer.submit(self._publish_waiting)

    def _publish_waiting(self) -> None:
        """Publish all that wait by now together; an earlier turn may have taken the caller's own."""
        batch: list[Upload] = []
        while self._waiting and len(batch) < BATCH_UPLOADS:
            batch.append(self._waiting.popleft())
        if not batch:
            return
        with _answering(*batch):
            lost = self._publish(batch)
            if lost:
                # Nobody waits for this. If it fails, rows without a file stay: `reconcile`.
                with contextlib.suppress(sqlite3.Error):
                    self._index.drop(lost)

    def _publish(self, batch: list[Upload]) -> list[Identity]:
        """Give rows and names to a batch and answer each; give the rows that are left over."""
        full = self._durability is Durability.FULL
        lost: list[Identity] = []
        linked: list[Upload] = []
        for upload, new in zip(batch, self._index.add(u.record() for u in batch), strict=True):
            if upload.answer.cancelled() or not new:
                # Not new: the same name at the same nanosecond. The other one's row stays as it is.
                upload.fail(Refused(errors.EXISTS))
            elif (error := self._link(upload)) is None:
                linked.append(upload)
                continue
            else:
                upload.fail(error)
            if new:
                lost.append(upload.identity)
        failures = self._directories.settle(linked) if full else {}
        for upload in linked:
            if (error := failures.get(upload.slot.key)) is None:
                upload.finish()
            else:
                self._withdraw(upload)
                lost.append(upload.identity)
                upload.fail(error)
        return lost

    def _link(self, upload: Upload) -> OSError | None:
        try:
            self._tree.link(upload.fd, upload.slot.key)
        except OSError as error:
            self._prune(upload.slot)  # directories made for a name that did not come to be
            return error
        return None

    def _withdraw(self, upload: Upload) -> None:
        with contextlib.suppress(OSError):  # a broken disk; the upload has not been acknowledged
            self._tree.unlink(upload.slot.key, mtime_ns=upload.mtime_ns)
        self._prune(upload.slot)

    def _prune(self, slot: Slot) -> None:
        with contextlib.suppress(OSError):  # an empty directory harms nobody
            self._tree.prune(slot.key, frozenset((slot.endpoint.directory,)))


class Directories:
    """Which directories must be synced so that a name survives a power cut.

    All from the file's own up to its endpoint's, since any of them may be new, whoever made them;
    and what is above the endpoint's once, because that one is never removed by us.
    """

    def __init__(self, tree: Tree) -> None:
        """Know nothing of `tree` yet."""
        self._tree = tree
        self._pool = ThreadPoolExecutor(SYNC_THREADS, "hmacfs-directory")
        self._known: set[tuple[int, int]] = set()  # at most one entry per endpoint and re-creation

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def settle(self, uploads: Sequence[Upload]) -> dict[str, OSError]:
        """Sync what `uploads` need, each directory once; give the keys whose sync failed."""
        own = {upload.slot.key.rpartition("/")[0] for upload in uploads}
        # A directory per upload is the rule. One after another, eight take a quarter longer.
        sync = self._pool.map if len(own) > 1 else map
        done = dict(zip(own, sync(self._sync, own), strict=True))
        failures: dict[str, OSError] = {}
        for upload in uploads:
            error = self._settle(upload.slot, done)
            if error is not None:
                failures[upload.slot.key] = error
        return failures

    def _settle(self, slot: Slot, done: dict[str, Outcome]) -> OSError | None:
        durable: tuple[int, int] | None = None
        for directory in ancestors(slot.key):
            if directory not in done:
                done[directory] = self._sync(directory)
            outcome = done[directory]
            if isinstance(outcome, OSError):
                return outcome
            if directory == slot.endpoint.directory and outcome is not None:
                if outcome in self._known:
                    return None
                durable = outcome
        if durable is not None:
            self._known.add(durable)
        return None

    def _sync(self, directory: str) -> Outcome:
        try:
            return self._tree.sync_directory(directory)
        except FileNotFoundError:
            return None  # the file and its directory have been removed again meanwhile
        except OSError as error:
            return error


def ancestors(key: str) -> Iterator[str]:
    """Give the directories of a key, its own first, the root ("") last."""
    while key:
        key = key.rpartition("/")[0]
        yield key


@contextlib.contextmanager
def _answering(*uploads: Upload) -> Iterator[None]:
    """Tell those who wait of anything that goes wrong, so that nobody waits for ever."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again where the upload is awaited
        for upload in uploads:
            if upload.fd != CLOSED:  # this one has not been answered yet
                upload.fail(error)
