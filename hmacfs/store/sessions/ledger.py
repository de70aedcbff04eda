"""What is done to unfinished uploads, one step at a time: begin, look, take over, keep, cut, end, drop.

Blocks. Raises Refused, and OSError for what the storage does.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import MiB
from hmacfs.store import part as parts
from hmacfs.store.files import lent
from hmacfs.store.sessions import note as notes
from hmacfs.store.sessions.note import Content, Fence, Note, State, Terms
from hmacfs.store.upload import CLOSED, NANO

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from hmacfs.store.files import Tree
    from hmacfs.store.sessions.folder import Folder

Allowed: TypeAlias = "Callable[[Terms, int | None], bool]"
"""Whether whoever asks may have an upload of these terms and this length."""

# The rest of the machine comes first: a pass over abandoned uploads rests so long after each batch.
BATCH: Final = 50
REST_S: Final = 0.1
# So much is joined before a newer request gets its chance to take over.
PIECE_BYTES: Final = 64 * MiB


class Found(NamedTuple):
    """What stands in the store of an upload."""

    terms: Terms
    offset: int
    """Bytes that have come without a gap, where they come one after another."""
    length: int | None
    complete: bool
    used_s: float
    """Wall-clock time of its last use."""
    chunks: Sequence[int] = ()
    """Numbers of the chunks stored, where they are numbered."""


class Writing:
    """One request's hold on an upload, until a newer request takes it over.

    As a context it lets go of it in the end. What is in the file stays.
    """

    __slots__ = ("fd", "fence", "found", "name", "note")

    def __init__(self, name: str, note: Note, fd: int, fence: Fence, found: Found) -> None:
        """Own `note` and `fd`."""
        self.name = name
        self.note = note
        self.fd = fd
        """The open file; CLOSED if the upload is complete."""
        self.fence = fence
        self.found = found
        """What stood there when it was taken over; then, when it was last kept."""

    def __enter__(self) -> Self:
        """Give the hold itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        os.close(self.note.fd)
        if self.fd != CLOSED:
            os.close(self.fd)


class Ledger:
    """The unfinished uploads of one storage."""

    def __init__(self, folder: Folder, tree: Tree, clock_ns: Callable[[], int]) -> None:
        """Keep them in `folder`; `clock_ns` gives wall-clock nanoseconds."""
        self.folder = folder
        self._tree = tree
        self._clock_ns = clock_ns
        self.durable = True
        """Whether what is told must survive a power cut."""
        self.lives_s = 0.0
        """How long an upload may be out of use before it is dropped."""
        self.min_free_bytes = 0

    def begin(self, name: str, terms: Terms, length: int | None, come: int | None = None) -> bool:
        """Begin an upload; give whether there was none of this name. Raises Refused EXISTS, DISK_FULL.

        `come` is an unnamed file with what has come of it already.
        """
        if terms.key and self._tree.look(terms.key) is not None:
            raise Refused(errors.EXISTS)
        if self._tree.free_bytes() - (length or 0) < self.min_free_bytes:
            raise Refused(errors.DISK_FULL)
        note = notes.written(terms, length)
        return self.folder.begin(name, note, self._clock_ns(), durable=self.durable, come=come)

    def look(self, name: str, allowed: Allowed) -> Found:
        """Give how far an upload is, for good: whoever was writing is through with it.

        Raises Refused NOT_FOUND, also for somebody else's, and UPLOAD_EXPIRED.
        """
        with self.take_over(name, allowed) as writing:
            if self.durable and writing.fd != CLOSED:
                os.fdatasync(writing.fd)
            return writing.found

    def peek(self, name: str, allowed: Allowed) -> Found:
        """Give how far an upload in numbered chunks is, and keep nobody from writing. Raises as `look`."""
        with self.folder.note(name) as note:
            return _found(note, self._admit(note, allowed), 0)

    def take_over(self, name: str, allowed: Allowed) -> Writing:
        """Take over the right to write what comes next. Raises Refused as `look` does.

        UPLOAD_TAKEN_OVER if somebody else does so at the same time and is the later one.
        """
        with contextlib.ExitStack() as undo:
            note = self.folder.note(name)
            undo.callback(os.close, note.fd)
            self._admit(note, allowed)
            fence = Fence(note)
            fence.claim()  # before we wait, so that who writes now lets us in
            with note.locked():
                content = note.read()  # once more: it may have ended meanwhile
                if not fence.holds:
                    raise Refused(errors.UPLOAD_TAKEN_OVER)
                fd, size = CLOSED, content.length or 0
                if content.state is State.OPEN:
                    fd = self.folder.bytes_of(name)
                    undo.callback(os.close, fd)
                    size = _extent(fd, note, content)
                note.touch(self._clock_ns())
            found = _found(note, content, size)
            undo.pop_all()
        return Writing(name, note, fd, fence, found)

    def take_chunk(self, name: str, allowed: Allowed, number: int, *, alone: bool) -> Writing | None:
        """Take over the right to write one numbered chunk; None if that is stored. Raises as `look`.

        If it is to be `alone`, Refused BUSY while another chunk of the upload is being written.
        """
        with contextlib.ExitStack() as undo:
            note = self.folder.note(name)
            undo.callback(os.close, note.fd)
            content = self._admit(note, allowed)
            fence = Fence(note, content.cell_at(number))
            with note.locked():
                content = note.read()
                if content.state is not State.OPEN or fence.settled:
                    return None
                fd = self.folder.bytes_of(name)
                undo.callback(os.close, fd)
                if alone:
                    _keep_others_out(fd)
                fence.claim()
                note.touch(self._clock_ns())
            found = _found(note, content, number * content.terms.chunk)
            undo.pop_all()
        return Writing(name, note, fd, fence, found)

    def reserve(self, writing: Writing, count: int) -> None:
        """Find room for the next `count` bytes. Raises Refused DISK_FULL."""
        parts.take_room(
            self._tree,
            writing.fd,
            count,
            start=writing.found.offset,
            min_free_bytes=self.min_free_bytes,
        )

    def agree(self, writing: Writing, length: int) -> None:
        """Note how long the file will be, which nobody has said before. Raises Refused UPLOAD_TAKEN_OVER."""
        with self._held(writing):
            writing.note.set_length(length)
        writing.found = writing.found._replace(length=length)

    def keep(self, writing: Writing) -> None:
        """Make what was written last, as far as the site promises."""
        if self.durable:
            os.fdatasync(writing.fd)
        writing.note.touch(self._clock_ns())
        writing.found = writing.found._replace(offset=os.fstat(writing.fd).st_size)

    def keep_chunk(self, writing: Writing) -> Found:
        """Make a chunk that was written whole last, and note that it is there. Give what now is.

        Raises Refused UPLOAD_TAKEN_OVER.
        """
        if self.durable:
            os.fdatasync(writing.fd)
        with self._held(writing):
            writing.fence.settle()
            writing.note.touch(self._clock_ns())
            return _found(writing.note, writing.note.read(), 0)

    def digest(self, writing: Writing, algorithm: str) -> str:
        """Give the digest of the whole file in hex digits; `algorithm` is hashlib's name of it."""
        with open(os.dup(writing.fd), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            return hashlib.file_digest(file, algorithm).hexdigest()

    def cut(self, writing: Writing) -> None:
        """Drop what this request has written. Raises Refused UPLOAD_TAKEN_OVER."""
        with self._held(writing):
            os.ftruncate(writing.fd, writing.found.offset)

    def seal(self, writing: Writing, key: str) -> int:
        """Let nobody write to a whole file any more; give a descriptor of it to publish as `key`.

        CLOSED if it is published already, by a request before this one. Raises Refused
        UPLOAD_TAKEN_OVER, SIZE_MISMATCH.
        """
        if writing.fd == CLOSED:
            return CLOSED
        # Held until all descriptors of this opening are closed, so that an upload is published once.
        fcntl.flock(writing.fd, fcntl.LOCK_EX)
        with writing.note.locked():
            if writing.note.read().state is State.COMPLETE:
                return CLOSED
            if not writing.fence.holds:
                raise Refused(errors.UPLOAD_TAKEN_OVER)
            size = os.fstat(writing.fd).st_size
            if size != writing.found.length:
                raise Refused(errors.SIZE_MISMATCH)
            os.ftruncate(writing.fd, size)  # gives the surplus of a reservation back
        stands = self._tree.look(key)
        if stands is not None and os.path.samestat(stands, os.fstat(writing.fd)):
            self.end(writing)  # a process was killed between the file's name and this note
            return CLOSED
        return os.dup(writing.fd)

    def end(self, writing: Writing) -> None:
        """Note that the file is published. The note stays for whoever asks again."""
        with writing.note.locked():
            writing.note.set_state(State.COMPLETE)
            self.folder.drop_bytes(writing.name)

    def adopt(self, name: str, terms: Terms, length: int, fd: int) -> None:
        """Keep what has come of an upload in the unnamed file `fd`, unless as much stands there already."""
        size = os.fstat(fd).st_size
        os.ftruncate(fd, size)  # gives the rest of its reservation back
        if self.durable:
            os.fdatasync(fd)
        if self.begin(name, terms, length, fd):
            return
        self._drop_unlike(name, terms, length)
        if self.begin(name, terms, length, fd):
            return
        with self.folder.note(name) as note, note.locked():
            if note.read().state is State.OPEN and self._size(name) < size:
                Fence(note).claim()  # who writes to the other bytes must not go on
                self.folder.adopt(fd, name)
                note.set_boot()

    def join(self, writing: Writing, sources: Sequence[Writing]) -> None:
        """Put the bytes of `sources` together in their order. Raises Refused UPLOAD_TAKEN_OVER.

        By copy_file_range(2), which shares them where the file system can.
        """
        start = 0
        for source in sources:
            at = 0
            while at < source.found.offset:
                want = min(source.found.offset - at, PIECE_BYTES)
                with writing.fence:
                    done = os.copy_file_range(source.fd, writing.fd, want, at, start + at)
                if not done:
                    raise Refused(errors.STORAGE_FAILED, "a part of the upload is shorter than it was")
                at += done
            start += at

    def drop(self, name: str, allowed: Allowed) -> Found:
        """Drop an upload and give what it was; what is published stays. Raises as `look` does."""
        with self.take_over(name, allowed) as writing, writing.note.locked():
            self._remove(name, writing.note)
            return writing.found

    def sweep(self, stop: threading.Event) -> int:
        """Drop what has been out of use for too long; give how many uploads that were."""
        dropped = seen = 0
        for name, used_s in list(self.folder.list()):
            if not self._is_over(used_s):
                continue
            dropped += self._drop_unused(name)
            seen += 1
            if seen % BATCH == 0 and stop.wait(REST_S):
                break
        return dropped

    def _drop_unused(self, name: str) -> bool:
        try:
            note = self.folder.note(name)
        except Refused:  # bytes without a note, or another has been here
            self.folder.drop_bytes(name)
            return False
        with note:
            Fence(note).claim()
            with note.locked():
                if not self._is_over(note.used_s()):
                    return False
                self._remove(name, note)
        return True

    def _drop_unlike(self, name: str, terms: Terms, length: int) -> None:
        """Drop an upload that was begun under other terms: another token is for this place now."""
        with self.folder.note(name) as note:
            Fence(note).claim()
            with note.locked():
                content = note.read()
                if content.state is State.OPEN and (content.terms, content.length) != (terms, length):
                    self._remove(name, note)

    def _remove(self, name: str, note: Note) -> None:
        """Remove all of an upload, under its lock; the note last, since that is what guards the name."""
        note.set_state(State.GONE)
        self.folder.drop_bytes(name)
        self.folder.drop_note(name)

    def _admit(self, note: Note, allowed: Allowed) -> Content:
        content = note.read()
        if not allowed(content.terms, content.length):
            raise Refused(errors.NOT_FOUND)
        if self._is_over(note.used_s()):
            raise Refused(errors.UPLOAD_EXPIRED)
        return content

    def _is_over(self, used_s: float) -> bool:
        return used_s + self.lives_s <= self._clock_ns() / NANO

    @contextlib.contextmanager
    def _held(self, writing: Writing) -> Iterator[None]:
        """Hold the lock of an upload that is still ours. Raises Refused UPLOAD_TAKEN_OVER."""
        with writing.note.locked():
            if not writing.fence.holds:
                raise Refused(errors.UPLOAD_TAKEN_OVER)
            yield

    def _size(self, name: str) -> int:
        with lent(self.folder.bytes_of(name)) as fd:
            return os.fstat(fd).st_size


def _found(note: Note, content: Content, offset: int) -> Found:
    return Found(
        content.terms,
        offset,
        content.length,
        content.state is State.COMPLETE,
        note.used_s(),
        note.stored_chunks(content),
    )


def _keep_others_out(fd: int) -> None:
    """Hold a file until `fd` is closed. Raises Refused BUSY if it is held already."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(errors.BUSY, "another chunk of this upload is being written") from None


def _extent(fd: int, note: Note, content: Content) -> int:
    """Give how many bytes have come, now that nobody writes.

    The size of the file may be more than that after a power cut, where space was reserved: the file system
    may have noted it before the bytes were written. Those read as a hole (lseek(2), SEEK_HOLE).
    """
    size = os.fstat(fd).st_size
    if content.boot != notes.boot():
        hole = os.lseek(fd, 0, os.SEEK_HOLE) if size else 0
        if hole < size and not content.terms.chunk:
            os.ftruncate(fd, hole)
            size = hole
        note.set_boot()
    return size
