"""What a request's body is poured into: a part of the store, counted and digested on the way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3

from hmacfs import _core, errors
from hmacfs.errors import Refused
from hmacfs.model import NANOSECONDS
from hmacfs.policy import buffers, disk_latency, os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import Plan

_UNGUARDED: Final = contextlib.nullcontext(enter_result=True)
_NOT_NOW: Final = contextlib.nullcontext(enter_result=False)


class BodySink(Protocol):
    """What a body is poured into."""

    @property
    def waited_s(self) -> float:
        """How long the last write was waiting."""

    @property
    def storing(self) -> asyncio.Future[None] | None:
        """Done when the thread that stores now has returned; None if none does."""

    def in_thread(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which a thread stores."""

    def guard(self, count: int = 0, *, wait: bool) -> contextlib.AbstractContextManager[bool]:
        """Return the context of a write of `count` bytes; it gives whether the write may be made now.

        Unless it may `wait`, that can be False; after a bounded wait it is refused. Raises Refused.
        """

    def take(self, data: memoryview) -> None:
        """Consume `data`, which is only lent, within `guard`. Raises Refused."""


class SpaceReservation(Protocol):
    """What of a file may be written to."""

    @property
    def end(self) -> int:
        """Up to where space is taken."""

    def reach(self, end: int) -> None:
        """Take space up to `end`, and some way beyond; blocks. Raises Refused DISK_FULL, OSError."""


class ReservedFile(Protocol):
    """What `receive` needs of a part of the store."""

    @property
    def file(self) -> Descriptor:
        """The open, unnamed file."""

    @property
    def length(self) -> int:
        """No more bytes may be written."""

    @property
    def room(self) -> SpaceReservation | None:
        """What of the file may be written to; None: all of it."""


class WriteGuard(Protocol):
    """A writer's right to write to a file that others may take over; a context around each write."""

    def guard(self, *, wait: bool) -> contextlib.AbstractContextManager[bool]:
        """Return the context that holds off whoever would take over; it gives whether it does.

        Unless it may `wait`, that can be False. Raises Refused: somebody has taken over, or the wait was too
        long; OSError.
        """


class SharedFile(Protocol):
    """A file that newer requests may take over, as one request holds it."""

    @property
    def file(self) -> Descriptor:
        """The open file."""

    @property
    def fence(self) -> WriteGuard:
        """The request's right to write to it."""

    @property
    def room(self) -> SpaceReservation | None:
        """What of the file may be written to; None: all of it."""


class Digest(Protocol):
    """A digest under way, of hashlib or blake3."""

    def update(self, data: memoryview, /) -> object:
        """Take `data` into account."""

    def digest(self) -> bytes:
        """Return the digest of all that came."""


class BodySource(Protocol):
    """One client as `transfer` sees it."""

    def receive_into(self, sink: BodySink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`; done when it has ended and nothing stores it any more.

        Refused if it breaks off.
        """


class Unguarded:
    """The half of a sink that is the same wherever nobody else writes."""

    __slots__ = ("storing",)

    def __init__(self) -> None:
        """Begin where no thread stores."""
        self.storing: asyncio.Future[None] | None = None
        """Done when the thread that stores now has returned; None if none does."""

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[None]:
        """Note that a thread stores: the end of the body is not told before it has returned."""
        storing = self.storing = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self.storing = None
            storing.set_result(None)

    def guard(self, count: int = 0, *, wait: bool) -> contextlib.AbstractContextManager[bool]:  # noqa: ARG002 - the protocol's
        """Return the context of a write: nobody else has this file."""
        return _UNGUARDED


class FileSink(Unguarded):
    """Writes a body to a file, counts it and digests it while it is hot in the cache."""

    __slots__ = ("_digests", "_intake", "_limit", "_room", "_waited_ns")

    def __init__(
        self,
        file: Descriptor,
        limit: int,
        *,
        start: int = 0,
        digests: Sequence[Digest] = (),
        room: SpaceReservation | None = None,
    ) -> None:
        """Write to `file` from `start` on, up to `limit`; `digests` take in the same, beside BLAKE3.

        Only where `room` was taken before, by a thread; None: it is there.
        """
        super().__init__()
        self._intake = _core.FileWriter(file, buffers.WRITE_BYTES, start)
        self._room = room
        self._digests: Sequence[Digest] = (blake3(), *digests)
        self._limit = limit
        self._waited_ns = 0

    @property
    def moved(self) -> int:
        """Where in the file the next byte goes."""
        return self._intake.moved

    @property
    def waited_s(self) -> float:
        """How long the last write was waiting."""
        return self._waited_ns / NANOSECONDS

    def guard(self, count: int = 0, *, wait: bool) -> contextlib.AbstractContextManager[bool]:
        """Return the context of a write: nobody else has this file, but it may need more room first."""
        return _UNGUARDED if wait or self._has_room(count) else _NOT_NOW

    def take(self, data: memoryview) -> None:
        """Write `data`. Raises Refused: size_mismatch past the limit, disk_full, storage_failed."""
        self._take(data, 0)

    def take_quickly(self, data: memoryview) -> int:
        """Write as much of `data` as has room and the disk takes before it counts as slow; give how much.

        Raises as `take`.
        """
        return self._take(data, int(disk_latency.ALARM_S * NANOSECONDS))

    @property
    def fits(self) -> int:
        """Bytes that may be written before room must be taken; else one beyond the limit, to be refused."""
        return (self._limit + 1 if self._room is None else self._room.end) - self._intake.moved

    def _has_room(self, count: int) -> bool:
        return self._room is None or count <= self.fits

    def _take(self, data: memoryview, patience_ns: int) -> int:
        if self._intake.moved + len(data) > self._limit:
            raise Refused(errors.SIZE_MISMATCH, f"more than {self._limit} bytes came")
        count = self._waited_ns = 0
        if self._room is not None and not self._has_room(len(data)):
            if patience_ns:
                data = data[: self.fits]
            else:
                self._reach(self._room, self._intake.moved + len(data))
        while count < len(data):
            # Piece by piece, so that what was copied is still in the core's cache when it is digested.
            piece = data[count : count + buffers.PIECE_BYTES]
            try:
                stored = self._intake.take(piece, patience_ns and max(patience_ns - self._waited_ns, 1))
            except OSError as error:
                raise os_errors.writing(error) from error
            finally:
                self._waited_ns += self._intake.waited_ns
            for digest in self._digests:
                digest.update(piece[:stored])
            count += stored
            if stored < len(piece):
                break
        return count

    @staticmethod
    def _reach(room: SpaceReservation, end: int) -> None:
        try:
            room.reach(end)
        except OSError as error:
            raise os_errors.writing(error) from error

    async def whole(self, poured: asyncio.Future[None]) -> bytes:
        """Wait for a body that is being poured in here, all of the file; give its BLAKE3 digest.

        Once this is over, not another byte reaches the file. Raises what breaks the body, and Refused:
        size_mismatch unless exactly as many bytes as the limit have come.
        """
        await poured
        if self.moved != self._limit:
            raise Refused(errors.SIZE_MISMATCH, f"{self.moved} bytes came, {self._limit} were granted")
        return self.digest()

    def digest(self) -> bytes:
        """BLAKE3 of all bytes taken."""
        return self._digests[0].digest()


class SharedSink(FileSink):
    """The same where a newer request may take over: writes only while its fence holds.

    Feeds the digests that it is given, and makes none of its own.
    """

    __slots__ = ("_fence", "_guarded")

    def __init__(self, shared: SharedFile, limit: int, *, start: int, digests: Sequence[Digest] = ()) -> None:
        """Write to the file from `start` on, up to `limit`, behind its fence."""
        super().__init__(shared.file, limit, start=start, room=shared.room)
        self._digests = digests
        self._fence = shared.fence
        self._guarded = False

    @contextlib.contextmanager
    def guard(self, count: int = 0, *, wait: bool) -> Iterator[bool]:
        """Hold the fence during a write. Raises Refused: somebody has taken over, or it cannot be held."""
        if not (wait or self._has_room(count)):
            yield False
            return
        try:
            with self._fence.guard(wait=wait) as held:
                self._guarded = held
                yield held
        except OSError as error:
            raise os_errors.writing(error) from error
        finally:
            self._guarded = False

    def _take(self, data: memoryview, patience_ns: int) -> int:
        if not self._guarded:
            raise RuntimeError("a shared file is written to behind its fence only")
        return super()._take(data, patience_ns)


class Nothing(Unguarded):
    """Takes a body that must be empty."""

    __slots__ = ("_refused", "waited_s")

    def __init__(self, refused: Refused) -> None:
        """Raise `refused` at the first byte."""
        super().__init__()
        self._refused = refused
        self.waited_s = 0.0

    def take(self, data: memoryview) -> None:
        """Raise Refused unless there is nothing."""
        if data:
            raise self._refused
