"""What is done to unfinished uploads, one step at a time: begin, look, take over, keep, cut, end, drop.

Blocks. Raises Refused, and OSError for what the storage does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import MiB
from hmacfs.policy import space
from hmacfs.store import part as parts
from hmacfs.store.directories import ancestors
from hmacfs.store.sessions import note as notes
from hmacfs.store.sessions.note import NO_CHUNKS, Content, Fence, Note, State, Stored, Terms
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
BLOCK_BYTES: Final = 512  # of st_blocks (stat(3type))


class Found(NamedTuple):
    """What stands in the store of an upload."""

    terms: Terms
    offset: int
    """Bytes that have come without a gap, where they come one after another."""
    length: int | None
    complete: bool
    used_s: float
    """Wall-clock time of its last use."""
    chunks: Stored = NO_CHUNKS
    """The chunks stored, where they are numbered."""


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

        Raises Refused as `take_over` does.
        """
        with self.take_over(name, allowed) as writing:
            self.keep(writing)
            return writing.found

    def peek(self, name: str, allowed: Allowed) -> Found:
        """Give how far an upload is by its note, and keep nobody from writing. The offset is not told.

        Raises Refused NOT_FOUND, also for somebody else's; UPLOAD_EXPIRED.
        """
        with self.folder.note(name) as note:
            return _found(note, self._admit(name, note, allowed), 0)

    def take_over(self, name: str, allowed: Allowed) -> Writing:
        """Take over the right to write what comes next. Raises Refused as `peek` does.

        UPLOAD_TAKEN_OVER if somebody else does so at the same time and is the later one.
        """
        with contextlib.ExitStack() as undo:
            note = self.folder.note(name)
            undo.callback(os.close, note.fd)
            self._admit(name, note, allowed)
            fence = Fence(note)
            fence.claim()  # before we wait, so that who writes now lets us in
            with note.locked():
                content = self._now(name, note)  # once more: it may have ended meanwhile
                if not fence.holds:
                    raise Refused(errors.UPLOAD_TAKEN_OVER)
                fd, size = CLOSED, content.length or 0
                if content.is_open:
                    fd = self.folder.bytes_of(name)
                    undo.callback(os.close, fd)
                    size = self._extent(fd, note, content)
                    _give_back(fd, content)
                note.touch(self._clock_ns())
            found = _found(note, content, size)
            undo.pop_all()
        return Writing(name, note, fd, fence, found)

    def go_on(  # noqa: PLR0913 - what a request says of its body
        self,
        name: str,
        allowed: Allowed,
        check: Callable[[Found], None],
        *,
        offset: int,
        length: int | None,
        count: int,
    ) -> Writing:
        """Take over to write `count` bytes at `offset`, if `check` finds nothing wrong with what stands.

        One step, since each is a way to a thread and back. Raises as `take_over`, `expect` and `check` do.
        """
        with contextlib.ExitStack() as undo:
            writing = undo.enter_context(self.take_over(name, allowed))
            if not writing.found.complete and writing.found.offset != offset:
                self.keep(writing)  # the client is about to be told how far it is
            check(writing.found)
            if not writing.found.complete:
                self.expect(writing, length, count)
            undo.pop_all()
        return writing

    def take_chunk(self, name: str, allowed: Allowed, number: int, *, alone: bool) -> Writing | None:
        """Take over the right to write one numbered chunk; None if that is stored. Raises as `peek`.

        If it is to be `alone`, Refused BUSY while another chunk of the upload is being written.
        """
        with contextlib.ExitStack() as undo:
            note = self.folder.note(name)
            undo.callback(os.close, note.fd)
            content = self._admit(name, note, allowed)
            fence = Fence(note, content.cell_at(number))
            with note.locked():
                content = note.read()
                if not content.is_open or fence.settled:
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

    def expect(self, writing: Writing, length: int | None, count: int) -> None:
        """Prepare for `count` bytes more, and note how long the file will be if nobody has said so before.

        Raises Refused DISK_FULL, UPLOAD_TAKEN_OVER.
        """
        found = writing.found
        if length is not None and found.length is None:
            with self._held(writing):
                writing.note.set_length(length)
            self._sync_note(writing.note)
            writing.found = found._replace(length=length)
        if count:
            parts.take_room(
                self._tree, writing.fd, count, start=found.offset, min_free_bytes=self.min_free_bytes
            )

    def let_go(self, writing: Writing) -> None:
        """Give the room back that was reserved for what now does not come, unless a newer request has it."""
        # By a lock of its own: a thread may still be at the last write under the lock of `writing`.
        with self.folder.note(writing.name) as note, note.locked():
            if writing.fd != CLOSED and writing.fence.holds:
                _give_back(writing.fd, note.read())

    def keep(self, writing: Writing) -> None:
        """Make what was written last, as far as the site promises."""
        if writing.fd == CLOSED:
            return
        size = os.fstat(writing.fd).st_size  # before the sync: whatever comes behind it is not meant
        self._sync(writing)
        writing.note.touch(self._clock_ns())
        writing.found = writing.found._replace(offset=size)

    def keep_chunk(self, writing: Writing) -> Found:
        """Make a chunk that was written whole last, and note that it is there. Give what now is.

        Raises Refused UPLOAD_TAKEN_OVER.
        """
        self._sync(writing)
        with self._held(writing):
            writing.fence.settle()
            writing.note.touch(self._clock_ns())
            found = _found(writing.note, writing.note.read(), 0)
        self._sync_note(writing.note)
        return found

    def digest(self, writing: Writing, algorithm: str) -> str:
        """Give the digest of the whole file in hex digits; `algorithm` is hashlib's name of it."""
        with open(os.dup(writing.fd), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            return hashlib.file_digest(file, algorithm).hexdigest()

    def doubt(self, writing: Writing) -> None:
        """Count what comes now only from `trust` on; who takes over before that drops it.

        Raises Refused UPLOAD_TAKEN_OVER.
        """
        with self._held(writing):
            writing.note.set_doubt(writing.found.offset)
            writing.note.touch(self._clock_ns())
        self._sync_note(writing.note)

    def trust(self, writing: Writing) -> None:
        """Count what has come since `doubt`. Raises Refused UPLOAD_TAKEN_OVER."""
        with self._held(writing):
            writing.note.set_doubt(None)
            writing.note.touch(self._clock_ns())
        self._sync_note(writing.note)  # else the doubt could come back, and drop what was told

    def cut(self, writing: Writing) -> None:
        """Drop what this request has written. Raises Refused UPLOAD_TAKEN_OVER."""
        with self._held(writing):
            os.ftruncate(writing.fd, writing.found.offset)

    def seal(self, writing: Writing, key: str) -> int:
        """Let nobody write to a whole file any more; give a descriptor of it to publish as `key`.

        CLOSED if it is published already, by a request before this one. Raises Refused UPLOAD_TAKEN_OVER,
        SIZE_MISMATCH, and BlockingIOError while such a request is at it.
        """
        if writing.fd == CLOSED:
            return CLOSED
        # Held until all descriptors of this opening are closed, so that an upload is published once. Not
        # waited for: who holds it needs one of the threads that would all be waiting here.
        fcntl.flock(writing.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with writing.note.locked():
            if writing.note.read().state is State.COMPLETE:
                return CLOSED
            if not writing.fence.holds:
                raise Refused(errors.UPLOAD_TAKEN_OVER)
            size = os.fstat(writing.fd).st_size
            if size != writing.found.length:
                raise Refused(errors.SIZE_MISMATCH)
        stands = self._tree.look(key)
        if stands is not None and os.path.samestat(stands, os.fstat(writing.fd)):
            # A process was killed between the file's name and this note, perhaps before the name would last.
            # The file is as it stands: whatever changed its mtime would part it from its row.
            for directory in ancestors(key) if self.durable else ():
                self._tree.sync_directory(directory)
            self.end(writing)
            return CLOSED
        os.ftruncate(writing.fd, size)  # gives the surplus of a reservation back
        return os.dup(writing.fd)

    def end(self, writing: Writing) -> None:
        """Note that the file is published. The note stays for whoever asks again."""
        note = writing.note
        with note.locked():
            if note.named:  # else it was dropped meanwhile, and the name may be another upload's
                note.set_state(State.COMPLETE)
                note.touch(self._clock_ns())
                self.folder.drop_bytes(writing.name)

    def adopt(self, name: str, terms: Terms, length: int, fd: int, *, empty: bool = False) -> None:
        """Keep what has come of an upload in the unnamed file `fd`, unless as much stands there already.

        Nothing is worth keeping only if `empty`.
        """
        size = os.fstat(fd).st_size
        if not (size or empty):
            return
        os.ftruncate(fd, size)  # gives the rest of its reservation back
        if self.durable:
            os.fdatasync(fd)
        if self.begin(name, terms, length, fd):
            return
        self._drop_if(name, lambda note: _is_unlike(note, terms, length))
        if self.begin(name, terms, length, fd):
            return
        with self.folder.note(name) as note, note.locked():
            if note.read().is_open and self._size(name) < size:
                Fence(note).claim()  # who writes to the other bytes must not go on
                self.folder.adopt(fd, name, durable=self.durable)
                note.set_boot()
                note.set_doubt(None)
            note.touch(self._clock_ns())

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
        writing.found = writing.found._replace(offset=start)

    def drop(self, name: str, allowed: Allowed) -> Found:
        """Drop an upload and give what it was; what is published stays. Raises as `peek` does."""
        with self.take_over(name, allowed) as writing:
            self.discard(writing)
            return writing.found

    def discard(self, writing: Writing) -> None:
        """Drop what is held, unless another has done so: by now the name may belong to a new upload."""
        with writing.note.locked():
            if writing.note.named:
                self._remove(writing.name, writing.note)

    def clear(self, name: str) -> None:
        """Drop whatever there is of this name, whoever's and in whatever state it is."""
        self._drop_if(name, lambda _note: True)

    def sweep(self, stop: threading.Event) -> int:
        """Drop what has been out of use for too long; give how many unfinished uploads that were."""
        dropped = seen = 0
        for name, used_s in list(self.folder.list()):
            if not self._is_over(used_s):
                continue
            if self.folder.has(name):
                dropped += self._drop_if(name, functools.partial(self._is_abandoned, name))
            else:
                self.folder.drop_bytes(name)
            seen += 1
            if seen % BATCH == 0 and stop.wait(REST_S):
                break
        return dropped

    def _drop_if(self, name: str, applies: Callable[[Note], bool]) -> bool:
        """Drop an upload of whose note that is true under its lock; give whether it was unfinished."""
        try:
            note = self.folder.note(name)
        except Refused:  # another has been here
            return False
        with note, note.locked():
            if not (note.named and applies(note)):
                return False
            unfinished = note.is_open
            Fence(note).claim()  # only now: to write the note is to use it
            self._remove(name, note)
        return unfinished

    def _remove(self, name: str, note: Note) -> None:
        """Remove all of an upload, under its lock; the note last, since that is what guards the name."""
        note.set_state(State.GONE)
        self.folder.drop_bytes(name)
        self.folder.drop_note(name)

    def _admit(self, name: str, note: Note, allowed: Allowed) -> Content:
        content = note.read()
        if not allowed(content.terms, content.length):
            raise Refused(errors.NOT_FOUND)
        if self._is_over(note.used_s()) and self._is_abandoned(name, note):
            raise Refused(errors.UPLOAD_EXPIRED)
        return content

    def _now(self, name: str, note: Note) -> Content:
        """Give what a note says, under its lock; mended if the file stands and it does not say so.

        The power may be cut as an upload ends: then its name lasts, and the last word of the note does not.
        """
        content = note.read()
        if content.is_open and content.terms.key and not self._size(name):
            stands = self._tree.look(content.terms.key)
            if stands is not None and stands.st_size == content.length:
                note.set_state(State.COMPLETE)
                self.folder.drop_bytes(name)
                content = note.read()
        return content

    def _extent(self, fd: int, note: Note, content: Content) -> int:
        """Give how many bytes have come, now that nobody writes.

        The size of the file may be more than that after a power cut, where space was reserved: the file
        system may have noted it before the bytes were written. Those read as a hole (lseek(2), SEEK_HOLE).
        """
        size = os.fstat(fd).st_size
        if content.doubt is not None:
            if content.doubt < size:
                os.ftruncate(fd, content.doubt)
                size = content.doubt
                if self.durable:
                    os.fdatasync(fd)  # else they could come back after a power cut, undoubted
            note.set_doubt(None)
            self._sync_note(note)
        if content.boot != notes.boot():
            hole = os.lseek(fd, 0, os.SEEK_HOLE) if size else 0
            if hole < size and not content.terms.chunk:
                os.ftruncate(fd, hole)
                size = hole
            note.set_boot()
        return size

    def _sync_note(self, note: Note) -> None:
        """Bring to stable storage what a note says now, if the site promises that."""
        if self.durable:
            os.fdatasync(note.fd)

    def _is_over(self, used_s: float) -> bool:
        return used_s + self.lives_s <= self._clock_ns() / NANO

    @contextlib.contextmanager
    def _held(self, writing: Writing) -> Iterator[None]:
        """Hold the lock of an upload that is still ours. Raises Refused UPLOAD_TAKEN_OVER."""
        with writing.note.locked():
            if not writing.fence.holds:
                raise Refused(errors.UPLOAD_TAKEN_OVER)
            yield

    def _sync(self, writing: Writing) -> None:
        """Bring the bytes to stable storage, if the site promises that.

        If that fails, nobody knows which of them are there, and a second try would not tell (fsync(2)): the
        upload is dropped. Raises OSError.
        """
        if not self.durable:
            return
        try:
            os.fdatasync(writing.fd)
        except OSError:
            self.discard(writing)
            raise

    def _is_abandoned(self, name: str, note: Note) -> bool:
        """Whether nobody has used an upload for too long. While bytes come, only their file tells of it."""
        return self._is_over(max(note.used_s(), self._written_s(name)))

    def _written_s(self, name: str) -> float:
        """Give when the last byte came, in wall-clock seconds; 0 if none has."""
        found = self.folder.look(name)
        return 0.0 if found is None else found.st_mtime

    def _size(self, name: str) -> int:
        found = self.folder.look(name)
        return 0 if found is None else found.st_size


def _found(note: Note, content: Content, offset: int) -> Found:
    return Found(
        content.terms,
        offset,
        content.length,
        content.state is State.COMPLETE,
        note.used_s(),
        note.stored_chunks(content),
    )


def _is_unlike(note: Note, terms: Terms, length: int) -> bool:
    """Whether an upload was begun under other terms than these: another token is for this place now."""
    try:
        content = note.read()
    except Refused:
        return True
    alike = dataclasses.replace(terms, began=content.terms.began)  # the same upload, begun once more
    return content.is_open and (content.terms, content.length) != (alike, length)


def _keep_others_out(fd: int) -> None:
    """Hold a file until `fd` is closed. Raises Refused BUSY if it is held already."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(errors.BUSY, "another chunk of this upload is being written") from None


def _give_back(fd: int, content: Content) -> None:
    """Give back what a request before this one has reserved and not used; chunks may come in any order."""
    found = os.fstat(fd)
    if not content.terms.chunk and found.st_blocks * BLOCK_BYTES > found.st_size + space.SMALL_BYTES:
        os.ftruncate(fd, found.st_size)
