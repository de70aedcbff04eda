"""How an unfinished upload is begun, found and taken over.

Blocks. Raises Refused, and OSError for what the storage does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.store.sessions import completion as ends
from hmacfs.store.sessions import progress as steps
from hmacfs.store.sessions import session_file as notes
from hmacfs.store.sessions.session_file import Fence, SessionPhase
from hmacfs.store.sessions.write_lease import Found, WriteLease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hmacfs._descriptor import Descriptor
    from hmacfs.store.sessions.completion import Completion
    from hmacfs.store.sessions.keeping import Keeping
    from hmacfs.store.sessions.progress import Progress
    from hmacfs.store.sessions.session_file import SessionFile, SessionState, UploadInfo
    from hmacfs.store.sessions.write_lease import Allowed, IncomingRange


class Registry:
    """The unfinished uploads of one storage."""

    def __init__(self, keeping: Keeping, progress: Progress, completion: Completion) -> None:
        """Keep them as `keeping` has it."""
        self._keeping = keeping
        self._progress = progress
        self._completion = completion

    def begin(self, name: str, terms: UploadInfo, length: int | None, come: Descriptor | None = None) -> bool:
        """Begin an upload; give whether there was none of this name.

        `come` is an unnamed file with what has come of it already. Raises Refused EXISTS, DISK_FULL,
        TOO_MANY_UPLOADS.
        """
        with self._draft(terms, length) as note:
            try:
                self._name(name, note, terms, come)
            except FileExistsError:
                return False
        return True

    def renew(self, name: str, terms: UploadInfo, length: int | None) -> Found:
        """Begin an upload in place of any of this name, which brings no byte yet. Raises as `start`."""
        with self._draft(terms, length) as note:
            self._replace(name, note, terms)
            return Found(terms, 0, length, complete=False, used_s=note.used_s())

    def replace(self, name: str, terms: UploadInfo, length: int | None, count: int) -> WriteLease:
        """Begin an upload in place of any of this name, to write its first `count` bytes.

        One step, so that of several who do so each has an upload of its own, which the next one takes away
        whole. Raises Refused as `begin`, and BlockingIOError while one of this name is being published.
        """
        with contextlib.ExitStack() as undo:
            note = undo.enter_context(self._draft(terms, length))
            fence = Fence.of_writer(note, self._keeping.paced)  # before anybody else can claim it
            self._replace(name, note, terms)
            with note.locked():
                if not note.named:  # a newer one has begun meanwhile
                    raise Refused(errors.UPLOAD_TAKEN_OVER)
                file = self._keeping.bytes_of(name)
            undo.callback(file.close)
            found = Found(terms, 0, length, complete=False, used_s=note.used_s())
            writing = WriteLease(name, fence, file, found, self._keeping.drop_file)
            self._progress.expect(writing, length, count)
            undo.pop_all()
        return writing

    def adopt(
        self, name: str, terms: UploadInfo, length: int, come: Descriptor, *, empty: bool = False
    ) -> None:
        """Keep what has come of an upload in the unnamed file `come`, unless as much stands there already.

        Nothing is worth keeping only if `empty`.
        """
        fd = come.fileno()
        size = os.fstat(fd).st_size
        if not (size or empty):
            return
        os.ftruncate(fd, size)  # gives the rest of its reservation back
        if self._keeping.durable:
            os.fdatasync(fd)
        if self.begin(name, terms, length, come):
            return
        self._completion.drop_if(name, lambda note: _is_unlike(note, terms, length))
        if self.begin(name, terms, length, come):
            return
        with self._keeping.folder.note(name) as note, note.locked():
            if note.read().is_open and self._keeping.size(name) < size:
                Fence(note).claim()  # who writes to the other bytes must not go on
                self._keeping.folder.adopt(fd, name, durable=self._keeping.durable)
                note.set_boot()
                note.set_doubt(None)
            note.touch(self._keeping.clock_ns())

    def durable_status(self, name: str, allowed: Allowed) -> Found:
        """Return how far an upload is, for good: whoever was writing is through with it.

        Raises Refused as `take_over` does.
        """
        if (found := self._untouched(name, allowed)) is not None:
            return found
        with self.take_over(name, allowed) as writing:
            self._progress.keep(writing)
            return writing.found

    def status(self, name: str, allowed: Allowed) -> Found:
        """Return how far an upload is by its note, and keep nobody from writing. The offset is not told.

        Raises Refused NOT_FOUND, also for somebody else's; UPLOAD_EXPIRED.
        """
        with self._keeping.folder.note(name) as note:
            return Found.of(note, self._admit(name, note, allowed), 0)

    def take_over(self, name: str, allowed: Allowed) -> WriteLease:
        """Take over the right to write what comes next. Raises Refused as `peek` does.

        UPLOAD_TAKEN_OVER if somebody else does so at the same time and is the later one.
        """
        with contextlib.ExitStack() as undo:
            note = undo.enter_context(self._keeping.folder.note(name))
            self._admit(name, note, allowed)
            fence = Fence(note, paced=self._keeping.paced)
            fence.claim()  # before we wait, so that who writes now lets us in
            with note.locked():
                content = self._now(name, note)  # once more: it may have ended meanwhile
                if not fence.holds:
                    raise Refused(errors.UPLOAD_TAKEN_OVER)
                file, size = None, content.length or 0
                if content.is_open:
                    file = self._keeping.bytes_of(name)
                    undo.callback(file.close)
                    size = self._extent(file.fileno(), note, content)
                    steps.give_back(file.fileno(), content)
                note.touch(self._keeping.clock_ns())
            found = Found.of(note, content, size)
            undo.pop_all()
        return WriteLease(name, fence, file, found, self._keeping.drop_file)

    def resume(
        self, name: str, allowed: Allowed, check: Callable[[Found], None], body: IncomingRange
    ) -> WriteLease:
        """Take over to write `body`, if `check` finds nothing wrong with what stands.

        One step, since each is a way to a thread and back. Raises as `take_over`, `expect` and `check` do.
        """
        with contextlib.ExitStack() as undo:
            writing = undo.enter_context(self.take_over(name, allowed))
            if not writing.found.complete and writing.found.offset != body.offset:
                self._progress.keep(writing)  # the client is about to be told how far it is
            check(writing.found)
            if not writing.found.complete:
                self._progress.expect(writing, body.length, body.size)
            undo.pop_all()
        return writing

    def take_chunk(self, name: str, allowed: Allowed, number: int, *, alone: bool) -> WriteLease | None:
        """Take over the right to write one numbered chunk; None if that is stored. Raises as `peek`.

        If it is to be `alone`, Refused BUSY while another chunk of the upload is being written.
        """
        with contextlib.ExitStack() as undo:
            note = undo.enter_context(self._keeping.folder.note(name))
            content = self._admit(name, note, allowed)
            fence = Fence(note, content.cell_at(number), self._keeping.paced)
            with note.locked():
                content = note.read()
                if not content.is_open or fence.settled:
                    return None
                file = self._keeping.bytes_of(name)
                undo.callback(file.close)
                if alone:
                    try:
                        ends.keep_others_out(file.fileno())
                    except BlockingIOError:
                        message = "another chunk of this upload is being written"
                        raise Refused(errors.BUSY, message) from None
                fence.claim()
                note.touch(self._keeping.clock_ns())
            found = Found.of(note, content, number * content.terms.chunk)
            undo.pop_all()
        return WriteLease(name, fence, file, found, self._keeping.drop_file)

    def hold(self, names: Sequence[str], allowed: Allowed) -> list[WriteLease]:
        """Take several uploads over, and let nobody else join, publish or drop them while they are held.

        Raises as `take_over`, and BlockingIOError while one is held so by another.
        """
        held: dict[str, WriteLease] = {}
        with contextlib.ExitStack() as undo:
            for name in sorted(names):  # so that of two who want the same, one gets all
                writing = held[name] = undo.enter_context(self.take_over(name, allowed))
                if not writing.is_complete:
                    ends.keep_others_out(writing.fd)
                if not writing.note.named:  # whoever held it before has dropped it
                    raise Refused(errors.NOT_FOUND)
            undo.pop_all()
        return [held[name] for name in names]

    def drop(self, name: str, allowed: Allowed) -> Found:
        """Drop an upload and give what it was; what is published stays.

        Raises as `take_over`, and BlockingIOError while it is being published.
        """
        if (found := self._untouched(name, allowed, drop=True)) is not None:
            return found
        with self.take_over(name, allowed) as writing:
            return self._completion.drop(writing)

    def _untouched(self, name: str, allowed: Allowed, *, drop: bool = False) -> Found | None:
        """Return what is known of an upload of which no byte has come; None if one may have.

        It has no file of bytes, and needs none to be looked at or, if asked, dropped. Raises as `peek`.
        """
        folder = self._keeping.folder
        with folder.note(name) as note:
            self._admit(name, note, allowed)
            if folder.look(name) is not None:
                return None
            with note.locked():
                content = self._now(name, note)
                if not content.is_open or folder.look(name) is not None:
                    return None
                note.touch(self._keeping.clock_ns())
                if drop:
                    self._keeping.remove(name, note)
                return Found.of(note, content, 0)

    def _name(self, name: str, note: SessionFile, terms: UploadInfo, come: Descriptor | None = None) -> None:
        """Give the note of a new upload its name. Raises FileExistsError, Refused TOO_MANY_UPLOADS."""
        keeping = self._keeping
        with keeping.quota.counting(terms.holder, name, keeping.most_unfinished):
            keeping.folder.begin(name, note, come)
        if keeping.durable:
            keeping.folder.sync()

    def _replace(self, name: str, note: SessionFile, terms: UploadInfo) -> None:
        """Give the note of a new upload its name, in place of any other's. Raises as `start`."""

        def is_stale(_note: SessionFile) -> bool:
            self._refuse_stored(terms)  # the one before this was published meanwhile
            return True

        while True:
            try:
                self._name(name, note, terms)
            except FileExistsError:
                self._completion.drop_if(name, is_stale)
            else:
                return

    def _draft(self, terms: UploadInfo, length: int | None) -> SessionFile:
        """Write the note of a new upload. Raises Refused EXISTS, DISK_FULL."""
        self._refuse_stored(terms)
        keeping = self._keeping
        if keeping.tree.free_bytes() - (length or 0) < keeping.min_free_bytes:
            raise Refused(errors.DISK_FULL)
        if not keeping.folder.has_inodes():
            raise Refused(errors.DISK_FULL, "too few inodes are free for unfinished uploads")
        return keeping.folder.draft(notes.written(terms, length), keeping.clock_ns(), durable=keeping.durable)

    def _refuse_stored(self, terms: UploadInfo) -> None:
        if terms.key and self._keeping.tree.look(terms.key) is not None:
            raise Refused(errors.EXISTS)

    def _admit(self, name: str, note: SessionFile, allowed: Allowed) -> SessionState:
        content = note.read()
        if not allowed(content.terms, content.length):
            raise Refused(errors.NOT_FOUND)
        if self._keeping.is_over(note.used_s()) and self._keeping.is_abandoned(name, note):
            raise Refused(errors.UPLOAD_EXPIRED)
        return content

    def _now(self, name: str, note: SessionFile) -> SessionState:
        """Return what a note says, under its lock; mended if the file stands and it does not say so.

        The power may be cut as an upload ends: then its name lasts, and the last word of the note does not.
        """
        content = note.read()
        if content.is_open and content.terms.key and not self._keeping.size(name):
            stands = self._keeping.tree.look(content.terms.key)
            if stands is not None and stands.st_size == content.length:
                note.set_state(SessionPhase.COMPLETE)
                self._keeping.folder.drop_bytes(name)
                content = note.read()
        return content

    def _extent(self, fd: int, note: SessionFile, content: SessionState) -> int:
        """Return how many bytes have come, now that nobody writes.

        The size of the file may be more than that after a power cut, where space was reserved: the file
        system may have noted it before the bytes were written. Those read as a hole (lseek(2), SEEK_HOLE).
        """
        size = os.fstat(fd).st_size
        if content.doubt is not None:
            if content.doubt < size:
                os.ftruncate(fd, content.doubt)
                size = content.doubt
                if self._keeping.durable:
                    os.fdatasync(fd)  # else they could come back after a power cut, undoubted
            note.set_doubt(None)
            self._keeping.sync_note(note)
        if content.boot != notes.boot():
            hole = os.lseek(fd, 0, os.SEEK_HOLE) if size else 0
            if hole < size and not content.terms.chunk:
                os.ftruncate(fd, hole)
                size = hole
            note.set_boot()
        return size


def _is_unlike(note: SessionFile, terms: UploadInfo, length: int) -> bool:
    """Whether an upload was begun under other terms than these: another token is for this place now."""
    try:
        content = note.read()
    except Refused:
        return True
    alike = dataclasses.replace(terms, began=content.terms.began)  # the same upload, begun once more
    return content.is_open and (content.terms, content.length) != (alike, length)
