"""A request's hold on an unfinished upload, and what it finds there and says of what it brings."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

from hmacfs import errors
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.store.sessions.session_file import NO_CHUNKS, SessionPhase, StoredChunks, UploadInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from hmacfs.store.room import Room
    from hmacfs.store.sessions.session_file import Fence, SessionFile, SessionState

Allowed: TypeAlias = "Callable[[UploadInfo, int | None], bool]"
"""Whether whoever asks may have an upload of these terms and this length."""


class IncomingRange(NamedTuple):
    """What a request says of the bytes that it brings."""

    offset: int
    """Where in the file they begin."""
    length: int | None
    """Bytes of the whole file, as far as the request tells."""
    size: int
    """How many they are; 0 if the request does not tell."""


class Found(NamedTuple):
    """What stands in the store of an upload."""

    terms: UploadInfo
    offset: int
    """Bytes that have come without a gap, where they come one after another."""
    length: int | None
    complete: bool
    used_s: float
    """Wall-clock time of its last use."""
    chunks: StoredChunks = NO_CHUNKS
    """The chunks stored, where they are numbered."""

    @property
    def is_whole(self) -> bool:
        """Whether all bytes have come, where they come one after another."""
        return self.complete or self.offset == self.length

    @classmethod
    def of(cls, note: SessionFile, content: SessionState, offset: int) -> Self:
        """Return what an upload's note says."""
        return cls(
            content.terms,
            offset,
            content.length,
            content.state is SessionPhase.COMPLETE,
            note.used_s(),
            note.stored_chunks(content),
        )


class WriteLease:
    """One request's hold on an upload, until a newer request takes it over.

    As a context it lets go of it in the end. What is in the file stays.
    """

    __slots__ = ("_drop", "_file", "fence", "found", "name", "note", "room")

    def __init__(
        self,
        name: str,
        fence: Fence,
        file: Descriptor | None,
        found: Found,
        drop: Callable[[Descriptor], None],
    ) -> None:
        """Own the note of `fence`, and `file`, which is None for an upload that is complete.

        `drop` closes a file that has no name any more: giving back gigabytes takes its time.
        """
        self._drop = drop
        self.name = name
        self.note = fence.note
        self._file = file
        self.fence = fence
        self.found = found
        """What stood there when it was taken over; then, when it was last kept."""
        self.room: Room | None = None
        """What of the file may be written to, once bytes are expected."""

    def __enter__(self) -> Self:
        """Return the hold itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.note.file.close()
        if self._file is not None and not self._file.closed:
            close = Descriptor.close if os.fstat(self.fd).st_nlink else self._drop
            close(self._file)

    @property
    def is_complete(self) -> bool:
        """Whether the upload was complete when it was taken over: then there is no file to write to."""
        return self._file is None

    @property
    def file(self) -> Descriptor:
        """The open file. Raises ValueError if the upload is complete."""
        if self._file is None:
            raise ValueError("the upload is complete")
        return self._file

    @property
    def fd(self) -> int:
        """The number of the open file. Raises ValueError if it is closed, or the upload complete."""
        return self.file.fileno()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of an upload that is still ours. Raises Refused UPLOAD_TAKEN_OVER."""
        with self.note.locked():
            if not self.fence.holds:
                raise Refused(errors.UPLOAD_TAKEN_OVER)
            yield
