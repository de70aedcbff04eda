"""How an unfinished upload ends: it is published, or dropped, and never both.

Blocks. Raises Refused, and OSError for what the storage does.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.store.directories import ancestors
from hmacfs.store.sessions.session_file import SessionPhase

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from hmacfs._descriptor import Descriptor
    from hmacfs.store.sessions.keeping import Keeping
    from hmacfs.store.sessions.session_file import SessionFile
    from hmacfs.store.sessions.write_lease import Found, WriteLease

# The rest of the machine comes first: a pass over abandoned uploads rests so long after each batch.
BATCH: Final = 50
REST_S: Final = 0.1


class Completion:
    """The ends of the unfinished uploads of one storage."""

    def __init__(self, keeping: Keeping) -> None:
        """End what is kept there."""
        self._keeping = keeping

    def seal(self, writing: WriteLease, key: str) -> Descriptor | None:
        """Let nobody write to a whole file any more; give a descriptor of it to publish as `key`.

        None if it is published already, by a request before this one. Raises Refused UPLOAD_TAKEN_OVER,
        SIZE_MISMATCH, and BlockingIOError while such a request is at it.
        """
        if self._has_ended(writing, key):
            return None
        size = os.fstat(writing.fd).st_size
        if size != writing.found.length:
            raise Refused(errors.SIZE_MISMATCH)
        os.ftruncate(writing.fd, size)  # gives the surplus of a reservation back
        return writing.file.duplicate()

    def mark_stored(self, writing: WriteLease) -> None:
        """Note that the file is published. The note stays for whoever asks again."""
        note = writing.note
        with note.locked():
            if note.named:  # else it was dropped meanwhile, and the name may be another upload's
                note.set_state(SessionPhase.COMPLETE)
                note.touch(self._keeping.clock_ns())
                self._keeping.folder.drop_bytes(writing.name)

    def drop(self, writing: WriteLease) -> Found:
        """Drop an upload and give what it was; what is published stays.

        Raises as `seal`.
        """
        ended = self._has_ended(writing, writing.found.terms.key)
        self._keeping.discard(writing)
        return writing.found._replace(complete=ended)

    def clear(self, name: str) -> None:
        """Drop whatever there is of this name, whoever's and in whatever state it is."""
        self.drop_if(name, lambda _note: True)

    def drop_if(self, name: str, applies: Callable[[SessionFile], bool]) -> bool:
        """Drop an upload of whose note that is true under its lock; give whether it was unfinished.

        Raises BlockingIOError while it is being published.
        """
        try:
            note = self._keeping.folder.note(name)
        except Refused:  # another has been here
            return False
        with note, note.locked():
            if not (note.named and applies(note)):
                return False
            unfinished = note.is_open
            file = self._keeping.folder.find_bytes(name) if unfinished else None
            if file is not None:
                try:
                    keep_others_out(file.fileno())
                finally:
                    file.close()
            self._keeping.remove(name, note)
        return unfinished

    def sweep(self, stop: threading.Event) -> int:
        """Drop what has been out of use for too long; give how many unfinished uploads that were."""
        dropped = seen = 0
        for name, used_s in list(self._keeping.folder.list()):
            if not self._keeping.is_over(used_s):
                continue
            if self._keeping.folder.has(name):
                with contextlib.suppress(BlockingIOError):  # it is being published
                    dropped += self.drop_if(name, functools.partial(self._keeping.is_abandoned, name))
            else:
                self._keeping.folder.drop_bytes(name)
            seen += 1
            if seen % BATCH == 0 and stop.wait(REST_S):
                break
        self._keeping.quota.sweep(self._keeping.is_over)
        return dropped

    def _has_ended(self, writing: WriteLease, key: str) -> bool:
        """Return whether an upload is published as `key`; if not, let nobody else do that from here on.

        Raises Refused UPLOAD_TAKEN_OVER, and BlockingIOError while a request before this one is at it.
        """
        if writing.is_complete:
            return True
        # Until all descriptors of this opening are closed, so that an upload is published once.
        keep_others_out(writing.fd)
        with writing.note.locked():
            if not writing.note.named:  # dropped
                raise Refused(errors.UPLOAD_TAKEN_OVER)
            if writing.note.read().state is SessionPhase.COMPLETE:
                return True
            if not writing.fence.holds:
                raise Refused(errors.UPLOAD_TAKEN_OVER)
        stands = self._keeping.tree.look(key) if key else None
        if stands is None or not _is_of(stands, os.fstat(writing.fd)):
            return False
        # A process was killed between the file's name and this note, perhaps before the name would last.
        # The file is as it stands: whatever changed its mtime would part it from its row.
        for directory in ancestors(key) if self._keeping.durable else ():
            self._keeping.tree.sync_directory(directory)
        self.mark_stored(writing)
        return True


def _is_of(stands: os.stat_result, kept: os.stat_result) -> bool:
    """Whether a published file is this one, or its copy on another file system, which has its time."""
    alike = (stands.st_size, stands.st_mtime_ns) == (kept.st_size, kept.st_mtime_ns)
    return os.path.samestat(stands, kept) or alike


def keep_others_out(fd: int) -> None:
    """Hold a file until `fd` is closed. Raises BlockingIOError if it is held already.

    Not waited for: who holds it needs one of the threads that would all be waiting here.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
