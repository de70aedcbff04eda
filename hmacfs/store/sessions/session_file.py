"""A session's note: the small file beside its bytes that says whose they are, and who may write now.

It begins with a head of fixed size, then its terms as JSON, then, if the upload comes in numbered chunks, one
cell per chunk. A cell holds the nonce of whoever writes now; the head has the one of the whole upload. To
take over is to write one's own nonce and then to wait for the lock: the old writer looks at the cell under a
shared lock before each write, so when the lock is ours not another byte of his can land. Of several who take
over at once the last to write the cell wins, and the others find that out under the lock.

How far an upload has come is not in here: that is the size of the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import secrets
import struct
import time
import uuid
from array import array
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.store import locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from hmacfs._descriptor import Descriptor
    from hmacfs.store.paced import Paced

# Magic, nonce, length (-1: not known), state, bytes of the terms, boot of the last writer, doubt (-1: none).
_HEAD: Final = struct.Struct("<8sQqII16sq8x")
_MAGIC: Final = b"hmacfs1\n"
_CELL: Final = struct.Struct("<Q")
_LENGTH: Final = struct.Struct("<q")
_WORD: Final = struct.Struct("<I")
_NONCE_AT: Final = 8
_LENGTH_AT: Final = 16
_STATE_AT: Final = 24
_BOOT_AT: Final = 32
_DOUBT_AT: Final = 48
_FIRST_BYTES: Final = 4096  # as good as always a head and all of its terms
_UNKNOWN: Final = -1
_STORED: Final = 2**64 - 1  # in the cell of a chunk that is stored


class SessionPhase(IntEnum):
    """How far a session is."""

    OPEN = 0
    COMPLETE = 1
    """The file stands under its own name; the note stays for whoever asks again."""
    GONE = 2
    """Dropped; whoever holds the note open learns it so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadInfo:
    """What was agreed when an upload was begun, and does not change."""

    key: str
    """Path below the storage under which it will be published; "" if it is only to be joined to others."""
    owner: str
    """What a later request must show, as the room above makes it: never a secret itself."""
    uploader: str = ""
    """Uploader as the XMPP server or the token names it."""
    holder: str = ""
    """Whose unfinished uploads are counted; "" where there is one for each file anyhow."""
    content_type: str | None = None
    """Type to serve; None if none was told."""
    expires: float | None = None
    """Wall-clock time at which the published file must be gone; None: file_ttl decides."""
    metadata: str | None = None
    """tus Upload-Metadata as it was sent."""
    most: int = 0
    """Bytes that it may have at most."""
    chunk: int = 0
    """Bytes of each chunk but the last, if they are numbered; 0: the bytes come in order."""
    parts: tuple[str, ...] = ()
    """Targets of the uploads that it was joined from."""
    digests: tuple[tuple[str, str], ...] = ()
    """What the whole file must digest to: hashlib's name of the algorithm, and hex digits."""
    began: float = 0.0
    """Wall-clock time at which it was begun."""
    name: str = ""
    """The file's whole name, if `key` ends in a shortened one."""


@dataclass(slots=True)
class SessionState:
    """What a note says now."""

    terms: UploadInfo
    length: int | None
    state: SessionPhase
    boot: bytes
    doubt: int | None
    """Where the bytes begin whose checksum was not compared yet; None if there are none."""
    cells_at: int
    """Where the cells of its chunks begin."""

    @property
    def is_open(self) -> bool:
        """Whether the upload is not complete."""
        return self.state is SessionPhase.OPEN

    def cell_at(self, chunk: int) -> int:
        """Return where the cell of a chunk is."""
        return self.cells_at + chunk * _CELL.size


def written(terms: UploadInfo, length: int | None) -> bytes:
    """Return a new note's bytes."""
    text = json.dumps(dataclasses.asdict(terms)).encode()
    text += b" " * (-len(text) % _CELL.size)
    nonce, known = secrets.randbits(63), _UNKNOWN if length is None else length
    return _HEAD.pack(_MAGIC, nonce, known, SessionPhase.OPEN, len(text), boot(), _UNKNOWN) + text


class StoredChunks:
    """Which chunks of an upload are stored: their numbers, in order. There may be very many."""

    __slots__ = ("_cells",)

    def __init__(self, cells: array[int]) -> None:
        """Take the cells of all chunks, as far as any was written to."""
        self._cells = cells

    def __len__(self) -> int:
        """Return how many."""
        return self._cells.count(_STORED)

    def __iter__(self) -> Iterator[int]:
        """Return their numbers."""
        return (number for number, cell in enumerate(self._cells) if cell == _STORED)

    def __contains__(self, number: int) -> bool:
        """Whether the chunk of this number is."""
        return 0 <= number < len(self._cells) and self._cells[number] == _STORED


NO_CHUNKS: Final = StoredChunks(array("Q"))
"""Of an upload whose bytes come in order."""


class SessionFile:
    """An open note. It owns `file`; its lock is that of this one opening."""

    __slots__ = ("file",)

    def __init__(self, file: Descriptor) -> None:
        """Take `file` over, which is open for reading and writing."""
        self.file = file

    @property
    def fd(self) -> int:
        """The number of the open file. Raises ValueError if it is closed."""
        return self.file.fileno()

    def __enter__(self) -> Self:
        """Return the note itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, which lets its lock go."""
        self.file.close()

    def read(self) -> SessionState:
        """Return what it says. Raises Refused NOT_FOUND if it is none of ours, damaged or gone."""
        data = os.pread(self.fd, _FIRST_BYTES, 0)
        if len(data) < _HEAD.size or not data.startswith(_MAGIC):
            raise Refused(errors.NOT_FOUND)
        _, _, length, state, size, at_boot, doubt = _HEAD.unpack_from(data)
        end = _HEAD.size + size
        if end > len(data):
            data += os.pread(self.fd, min(end, os.fstat(self.fd).st_size) - len(data), len(data))
        try:
            terms, state = _terms(data[_HEAD.size : end]), SessionPhase(state)
        except (ValueError, TypeError, KeyError):
            raise Refused(errors.NOT_FOUND) from None
        if state is SessionPhase.GONE:
            raise Refused(errors.NOT_FOUND)
        return SessionState(
            terms,
            None if length == _UNKNOWN else length,
            state,
            at_boot,
            None if doubt == _UNKNOWN else doubt,
            end,
        )

    @property
    def is_open(self) -> bool:
        """Whether it is the note of an upload that is not complete."""
        try:
            return self.read().is_open
        except Refused:
            return False

    @property
    def named(self) -> bool:
        """Whether it still stands under its name; under its lock that stays so."""
        return os.fstat(self.fd).st_nlink > 0

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep everybody else from writing; waits for the writes under way. Only for what takes no time.

        Raises Refused BUSY if that takes too long, and OSError.
        """
        return locks.held(self.fd, locks.EXCLUSIVE)

    def set_length(self, length: int) -> None:
        """Note how long the file will be."""
        os.pwrite(self.fd, _LENGTH.pack(length), _LENGTH_AT)

    def set_state(self, state: SessionPhase) -> None:
        """Note how far the session is."""
        os.pwrite(self.fd, _WORD.pack(state), _STATE_AT)

    def set_doubt(self, offset: int | None) -> None:
        """Note from where on the bytes are not known to be right."""
        os.pwrite(self.fd, _LENGTH.pack(_UNKNOWN if offset is None else offset), _DOUBT_AT)

    def set_boot(self) -> None:
        """Note that what stands in the file now was written, or looked at, since this boot."""
        os.pwrite(self.fd, boot(), _BOOT_AT)

    def touch(self, now_ns: int) -> None:
        """Note that the upload is in use: it is dropped when it was not for long enough.

        Whatever else is written into the note sets that time as well, but by the kernel's clock.
        """
        os.utime(self.fd, ns=(now_ns, now_ns))

    def used_s(self) -> float:
        """Return when the upload was last used, in wall-clock seconds."""
        return os.fstat(self.fd).st_mtime

    def stored_chunks(self, content: SessionState) -> StoredChunks:
        """Return which of the chunks are stored."""
        cells = array("Q")
        if content.terms.chunk and content.length is not None:
            count = -(-content.length // content.terms.chunk)
            data = os.pread(self.fd, count * _CELL.size, content.cells_at)
            cells.frombytes(data[: len(data) // _CELL.size * _CELL.size])
        return StoredChunks(cells)


def _terms(text: bytes) -> UploadInfo:
    values = json.loads(text)
    values["parts"] = tuple(values["parts"])
    values["digests"] = tuple((name, digits) for name, digits in values["digests"])
    return UploadInfo(**values)


class Fence:
    """One writer's right to write: a nonce in a cell of the note, and the note's lock during each write."""

    __slots__ = ("_at", "_nonce", "_paced", "note")

    def __init__(self, note: SessionFile, at: int = _NONCE_AT, paced: Paced | None = None) -> None:
        """Prepare to claim the cell at `at` of `note`: that of the whole upload, or one chunk's.

        `paced` says whether the loop may hold it during a write.
        """
        self.note = note
        self._paced = paced
        self._at = at
        self._nonce = _CELL.pack(secrets.randbits(63) | 1)  # never an empty cell, nor STORED

    @classmethod
    def of_writer(cls, note: SessionFile, paced: Paced | None = None) -> Self:
        """Return the right of whoever has just written `note`, which has no name yet."""
        fence = cls(note, paced=paced)
        fence._nonce = os.pread(note.fd, _CELL.size, _NONCE_AT)
        return fence

    def claim(self) -> None:
        """Take the cell: whoever had it may end the write that is under way, and no more."""
        os.pwrite(self.note.fd, self._nonce, self._at)

    @property
    def holds(self) -> bool:
        """Whether nobody has taken over since; under the lock that stays so."""
        return os.pread(self.note.fd, _CELL.size, self._at) == self._nonce

    @property
    def settled(self) -> bool:
        """Whether the chunk is stored."""
        return os.pread(self.note.fd, _CELL.size, self._at) == _CELL.pack(_STORED)

    def settle(self) -> None:
        """Note that the chunk is stored; under the lock."""
        os.pwrite(self.note.fd, _CELL.pack(_STORED), self._at)

    @contextlib.contextmanager
    def guard(self, *, wait: bool) -> Iterator[bool]:
        """Hold off whoever would take over during a write; gives whether that is so.

        Unless it may `wait`, it is not while another is taking over. Raises Refused UPLOAD_TAKEN_OVER, BUSY
        after too long a wait, and OSError. The note stays open until the write is over.
        """
        if not wait and self._paced is not None and not self._paced.on_loop():
            yield False
            return
        with self.note.file.use() as fd:
            began = time.monotonic()
            if wait:
                locks.take(fd, locks.SHARED)
            elif not locks.try_lock(fd, locks.SHARED):
                yield False
                return
            try:
                if not self.holds:
                    raise Refused(errors.UPLOAD_TAKEN_OVER)
                self._time(began, aside=wait)
                yield True
            finally:
                began = time.monotonic()
                locks.unlock(fd)
                self._time(began, aside=wait)

    def _time(self, began: float, *, aside: bool) -> None:
        if self._paced is not None:
            self._paced.note(began, aside=aside)


@functools.cache
def boot() -> bytes:
    """Return what tells this boot of the machine from every other (random(4))."""
    return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()).bytes
