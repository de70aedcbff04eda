"""How unfinished uploads are kept: where, how long, and how sure it is that they last.

Blocks. Raises OSError.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hmacfs.model import NANOSECONDS
from hmacfs.store.room import Room
from hmacfs.store.sessions.quota import Quota
from hmacfs.store.sessions.session_file import Fence, SessionPhase

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs._descriptor import Descriptor
    from hmacfs.store.files import Tree
    from hmacfs.store.paced import Paced
    from hmacfs.store.sessions.folder import Folder
    from hmacfs.store.sessions.session_file import SessionFile
    from hmacfs.store.sessions.write_lease import WriteLease


class Keeping:
    """The place of one storage's unfinished uploads, and the site's rules for them."""

    def __init__(
        self,
        folder: Folder,
        tree: Tree,
        clock_ns: Callable[[], int],
        *,
        paced: Paced,
        drop_file: Callable[[Descriptor], None],
    ) -> None:
        """Keep them in `folder`; `clock_ns` gives wall-clock nanoseconds.

        `paced` says where small steps are made, `drop_file` closes a file that has no name any more.
        """
        self.paced = paced
        self.drop_file = drop_file
        self.folder = folder
        self.tree = tree
        self.clock_ns = clock_ns
        self.durable = True
        """Whether what is told must survive a power cut."""
        self.lives_s = 0.0
        """How long an upload may be out of use before it is dropped."""
        self.min_free_bytes = 0
        self.most_unfinished = 0
        """How many unfinished uploads an owner may have."""
        self.quota = Quota(tree, folder.is_open)

    def close(self) -> None:
        """Let go of the directories."""
        self.quota.close()
        self.folder.close()

    def room(self, file: Descriptor, start: int, most: int) -> Room:
        """Return the room in `file` from `start` on, never beyond `most`; none is taken yet."""
        return Room(self.tree, file, start=start, most=most, min_free_bytes=self.min_free_bytes)

    def bytes_of(self, name: str) -> Descriptor:
        """Open the bytes of an upload that has a note, under its lock; empty if none have come."""
        return self.folder.bytes_of(name, durable=self.durable)

    def sync(self, writing: WriteLease) -> None:
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

    def sync_note(self, note: SessionFile) -> None:
        """Bring to stable storage what a note says now, if the site promises that."""
        if self.durable:
            os.fdatasync(note.fd)

    def discard(self, writing: WriteLease) -> None:
        """Drop what is held, unless another has done so: by now the name may belong to a new upload."""
        with writing.note.locked():
            if writing.note.named:
                self.remove(writing.name, writing.note)

    def remove(self, name: str, note: SessionFile) -> None:
        """Remove all of an upload, under its lock; the note last, since that is what guards the name."""
        Fence(note).claim()  # who writes to it stops
        note.set_state(SessionPhase.GONE)
        self.folder.drop_bytes(name)
        self.folder.drop_note(name)

    def is_over(self, used_s: float) -> bool:
        """Whether what was last used then has been out of use for too long."""
        return used_s + self.lives_s <= self.clock_ns() / NANOSECONDS

    def is_abandoned(self, name: str, note: SessionFile) -> bool:
        """Whether nobody has used an upload for too long. While bytes come, only their file tells of it."""
        return self.is_over(max(note.used_s(), self._written_s(name)))

    def size(self, name: str) -> int:
        """Return how large the file of an upload's bytes is; 0 if there is none."""
        found = self.folder.look(name)
        return 0 if found is None else found.st_size

    def _written_s(self, name: str) -> float:
        """Return when the last byte came, in wall-clock seconds; 0 if none has."""
        found = self.folder.look(name)
        return 0.0 if found is None else found.st_mtime
