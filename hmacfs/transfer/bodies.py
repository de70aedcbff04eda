"""What a request's body is poured into: a part of the store, counted and digested on the way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3

from hmacfs import _core, errors
from hmacfs.errors import Refused
from hmacfs.model import Dependency
from hmacfs.policy import breaker, buffers, latency

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from hmacfs.model import Plan

NANO: Final = 1_000_000_000
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Sink(Protocol):
    """What a body is poured into."""

    @property
    def waited_s(self) -> float:
        """How long the last write was waiting."""

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keep the file open although its part may be dropped meanwhile. Raises OSError."""

    def take(self, data: memoryview) -> None:
        """Consume `data`, which is only lent. Raises Refused."""


class Part(Protocol):
    """What `receive` needs of a part of the store."""

    @property
    def fd(self) -> int:
        """The open, unnamed file."""

    @property
    def length(self) -> int:
        """Bytes reserved: no more may be written."""


class Fence(Protocol):
    """A writer's right to write to a file that others may take over; a context around each write."""

    file: int
    """The open file that carries the right; exchanged for a duplicate while a thread writes."""

    def __enter__(self) -> None:
        """Hold off whoever would take over. Raises Refused: somebody has."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others take over."""


class Digest(Protocol):
    """A digest under way, of hashlib or blake3."""

    def update(self, data: memoryview, /) -> object:
        """Take `data` into account."""

    def digest(self) -> bytes:
        """Give the digest of all that came."""


class Link(Protocol):
    """One client as `transfer` sees it."""

    def pour(self, sink: Sink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`; done when it has ended. Refused if it breaks off."""


def refused(error: OSError) -> Refused:
    """Give the refusal that a failed write of a body amounts to."""
    full = error.errno in FULL
    broken = Dependency.STORAGE if error.errno in breaker.STORAGE_FAULTS else None
    return Refused(errors.DISK_FULL if full else errors.STORAGE_FAILED, error.strerror or "", broken=broken)


class FileSink:
    """Writes a body to a file, counts it and digests it while it is hot in the cache."""

    __slots__ = ("_aside", "_digests", "_intake", "_limit", "_waited_ns")

    def __init__(self, file: int, limit: int, *, start: int = 0, digests: Sequence[Digest] = ()) -> None:
        """Write to `file` from `start` on, up to `limit`; `digests` take in the same, beside BLAKE3."""
        self._intake = _core.Intake(file, buffers.WRITE_BYTES, start)
        self._digests: Sequence[Digest] = (blake3(), *digests)
        self._limit = limit
        self._waited_ns = 0
        self._aside: asyncio.Future[None] | None = None  # done when the thread that writes now is through

    @property
    def moved(self) -> int:
        """Where in the file the next byte goes."""
        return self._intake.moved

    @property
    def waited_s(self) -> float:
        """How long the last write was waiting."""
        return self._waited_ns / NANO

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the file open although its part may be dropped meanwhile: a thread writes to it.

        Raises OSError.
        """
        theirs = self._intake.file
        ours = self._intake.file = os.dup(theirs)
        aside = self._aside = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._intake.file = theirs
            os.close(ours)
            self._aside = None
            aside.set_result(None)

    def take(self, data: memoryview) -> None:
        """Write `data`. Raises Refused: size_mismatch past the limit, disk_full, storage_failed."""
        self._take(data, 0)

    def take_quickly(self, data: memoryview) -> int:
        """Write as much of `data` as the disk takes before it counts as slow; give how much. As `take`."""
        return self._take(data, int(latency.ALARM_S * NANO))

    def _take(self, data: memoryview, patience_ns: int) -> int:
        if self._intake.moved + len(data) > self._limit:
            raise Refused(errors.SIZE_MISMATCH, f"more than {self._limit} bytes came")
        count = self._waited_ns = 0
        while count < len(data):
            # Piece by piece, so that what was copied is still in the core's cache when it is digested.
            piece = data[count : count + buffers.PIECE_BYTES]
            try:
                stored = self._intake.take(piece, patience_ns and max(patience_ns - self._waited_ns, 1))
            except OSError as error:
                raise refused(error) from error
            finally:
                self._waited_ns += self._intake.waited_ns
            for digest in self._digests:
                digest.update(piece[:stored])
            count += stored
            if stored < len(piece):
                break
        return count

    async def whole(self, poured: asyncio.Future[None]) -> bytes:
        """Wait for a body that is being poured in here, all of the file; give its BLAKE3 digest.

        Once this is over, not another byte reaches the file. Raises what breaks the body, and Refused:
        size_mismatch unless exactly as many bytes as the limit have come.
        """
        try:
            await poured
        except Refused:
            if self._aside is not None:
                await self._aside
            raise
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

    __slots__ = ("_fence",)

    def __init__(
        self, file: int, limit: int, fence: Fence, *, start: int, digests: Sequence[Digest] = ()
    ) -> None:
        """Write to `file` from `start` on, up to `limit`, behind `fence`."""
        super().__init__(file, limit, start=start)
        self._digests = digests
        self._fence = fence

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep file and fence open. Raises OSError."""
        theirs = self._fence.file
        ours = self._fence.file = os.dup(theirs)
        try:
            with super().held():
                yield
        finally:
            self._fence.file = theirs
            os.close(ours)

    def _take(self, data: memoryview, patience_ns: int) -> int:
        with self._fence:
            return super()._take(data, patience_ns)


class Nothing:
    """Takes a body that must be empty."""

    __slots__ = ("_refused", "waited_s")

    def __init__(self, refused: Refused) -> None:
        """Raise `refused` at the first byte."""
        self._refused = refused
        self.waited_s = 0.0

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Hold nothing: there is no file."""
        return contextlib.nullcontext()

    def take(self, data: memoryview) -> None:
        """Raise Refused unless there is nothing."""
        if data:
            raise self._refused
