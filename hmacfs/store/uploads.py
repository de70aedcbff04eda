"""How an upload begins and is published: by the event loop as long as the storage is quick, else by threads.

What the loop publishes it publishes at the end of a turn, for all uploads of that turn together.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from hmacfs._descriptor import Descriptor
from hmacfs.model import NANOSECONDS
from hmacfs.policy import loop_gate, os_errors
from hmacfs.store import indexes
from hmacfs.store import part as parts
from hmacfs.store.publish import Publisher
from hmacfs.store.room import Room
from hmacfs.store.upload import FailPending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hmacfs.errors import Refused
    from hmacfs.model import Slot, StoredFile
    from hmacfs.store.files import Tree
    from hmacfs.store.lookup import Lookup
    from hmacfs.store.part import Draft, Part
    from hmacfs.store.resilience import Resilience
    from hmacfs.store.rules import Rules
    from hmacfs.store.upload import PendingPublication

# Reservations, removals and the closing of dropped files; syncs have threads of their own, so
# that a few large files being synced do not keep small ones from beginning.
THREADS: Final = 8


class UploadScheduler:
    """The uploads of one worker. Its coroutines belong to one event loop."""

    def __init__(
        self, tree: Tree, rules: Rules, clock_ns: Callable[[], int], lookup: Lookup, resilience: Resilience
    ) -> None:
        """Publish nothing until the publisher has got an index; `lookup` learns of each file."""
        self._tree = tree
        self.rules = rules
        self._lookup = lookup
        self._resilience = resilience
        self.pool = ThreadPoolExecutor(THREADS, "hmacfs-store")
        self.publisher = Publisher(tree, indexes.absent(), rules.durability, clock_ns, self)
        self._pace = loop_gate.Pace()
        self._waited_ns = tree.waited_ns()  # what of it `_pace` knows
        # What this turn of the loop has brought, to be published at its end.
        self._sealed: list[PendingPublication] = []

    def close(self) -> None:
        """Finish what has been submitted and end the threads; blocks."""
        for upload in self._sealed:  # the loop has ended before its turn did, and so has who waited
            upload.close()
        self.publisher.close()
        self.pool.shutdown()

    async def begin(self, slot: Slot | None, length: int, *, announced: bool) -> Part:
        """Begin an upload as `Store.begin` has it."""
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
        return parts.Part(draft, slot, length, self)

    async def publish(self, upload: PendingPublication) -> StoredFile:
        """Publish a whole file; return what is now known of it. Raises Refused."""
        if self.publisher.syncs or not self._pace.on_loop(time.monotonic(), upload.reserved):
            self.publisher.submit(upload)
        else:
            self._publish_soon(upload)
        stored = await upload.answer
        if self._resilience.troubled:
            self._resilience.succeed()
        self._lookup.learn(stored, upload.inode)
        return stored

    def drop(self, file: Descriptor) -> None:
        """Close the file of a dropped part; giving back gigabytes takes its time."""
        try:
            self.pool.submit(file.close)
        except RuntimeError:  # the store is closed already
            file.close()

    def fail(self, refused: Refused) -> None:
        """Take into account why an upload was refused."""
        self._resilience.fail(refused)

    # What the publisher asks, on its threads.

    def delays(self) -> Iterator[float]:
        """Return the waits before each further try of what may pass by itself."""
        return self._resilience.delays()

    def copy(self, file: Descriptor, key: str, length: int) -> Descriptor:
        """Return a copy of an open file where it can be named `key`. Raises Refused DISK_FULL, OSError."""
        copy = Descriptor(self._tree.unnamed(key))
        try:
            room = Room(self._tree, copy, start=0, most=length, min_free_bytes=self.rules.min_free_bytes)
            room.take_all()
            self._tree.copy(file.fileno(), copy.fileno(), length)
        except BaseException:
            copy.close()
            raise
        return copy

    def note_aside(self, seconds: float) -> None:
        """Note how long a thread took for what the loop would do if the storage were quick."""
        if seconds >= loop_gate.STALL_S:
            self._pace.note_aside(time.monotonic(), seconds)

    def _reserve(self, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        return parts.reserve(
            self._tree, slot, length, announced=announced, min_free_bytes=self.rules.min_free_bytes
        )

    async def _reserve_aside(self, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        # A reservation that nothing waits for any more is closed with its last reference.
        submitted = self.pool.submit(self._reserve_timed, slot, length, announced=announced)
        return await asyncio.wrap_future(submitted)

    def _reserve_timed(self, slot: Slot | None, length: int, *, announced: bool) -> Draft:
        began = time.monotonic()
        try:
            return self._reserve(slot, length, announced=announced)
        finally:
            if length <= loop_gate.SMALL_BYTES:
                self.note_aside(time.monotonic() - began)

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
            self._pace.note(now, (waited_ns - self._waited_ns) / NANOSECONDS)
            self._waited_ns = waited_ns
        return self._pace.on_loop(now, 0)

    def _publish_soon(self, upload: PendingPublication) -> None:
        """Publish `upload` on the loop, together with all others of this turn."""
        began = time.monotonic()
        with FailPending((upload,)):
            self.publisher.seal(upload)
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
        self.publisher.publish_on_loop(batch, self._is_quick)
        self._is_quick()
