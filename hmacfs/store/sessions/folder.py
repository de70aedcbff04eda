"""Where unfinished uploads lie: two files each, below the storage's private directory.

NAME holds the bytes, at the place that they will have in the published file, which it becomes by a link;
NAME.note says the rest (`note`). Blocks, and raises OSError.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.policy import reservation
from hmacfs.store.files import CLOSED
from hmacfs.store.sessions.session_file import SessionFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hmacfs.store.files import Tree

DIRECTORY: Final = "uploads"
_NOTE: Final = ".note"
_NEW: Final = ".new"
_OPEN: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Folder:
    """The directory of unfinished uploads, held open from `open` on."""

    name: Final = DIRECTORY

    def __init__(self, tree: Tree) -> None:
        """Have it in the private directory of `tree`."""
        self._tree = tree
        self.fd = CLOSED

    def open(self) -> None:
        """Open it, making it if need be, unless it is open."""
        if self.fd != CLOSED:
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(DIRECTORY, 0o700, dir_fd=self._tree.private_fd)
            os.fsync(self._tree.private_fd)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self.fd = os.open(DIRECTORY, flags, dir_fd=self._tree.private_fd)

    def close(self) -> None:
        """Let go of it."""
        if self.fd != CLOSED:
            os.close(self.fd)

    def has(self, name: str) -> bool:
        """Whether there is such an upload, or that cannot be told."""
        try:
            os.stat(name + _NOTE, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def is_open(self, name: str) -> bool:
        """Whether there is such an upload, and it is not complete."""
        try:
            with self.note(name) as note:
                return note.is_open
        except Refused:
            return False

    def has_inodes(self) -> bool:
        """Whether one more upload would leave inodes enough to others."""
        room = os.fstatvfs(self.fd)
        return reservation.leaves_inodes(room.f_favail, room.f_files)

    def draft(self, text: bytes, now_ns: int, *, durable: bool) -> SessionFile:
        """Write a note whole, before it gets its name; if it is closed without one, nothing is left."""
        with contextlib.ExitStack() as undo:
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
            undo.callback(os.close, fd)
            os.write(fd, text)
            os.utime(fd, ns=(now_ns, now_ns))
            if durable:
                os.fsync(fd)
            undo.pop_all()
        return SessionFile(Descriptor(fd))

    def begin(self, name: str, note: SessionFile, come: Descriptor | None = None) -> None:
        """Begin an upload by giving a draft its name. Raises FileExistsError if there is one of this name.

        `come` is an unnamed file with what has come of it already; nobody is told of it without that. Else
        there is no file of bytes before there is a byte. `sync` makes the names last.
        """
        with note.locked():  # who asks meanwhile waits until the bytes are there
            self._link(note.fd, name + _NOTE)
            if come is not None:
                self.adopt(come.fileno(), name, durable=False)

    def sync(self) -> None:
        """Bring the names to stable storage."""
        os.fsync(self.fd)

    def note(self, name: str) -> SessionFile:
        """Open the note of an upload. Raises Refused NOT_FOUND if there is none."""
        try:
            return SessionFile(Descriptor(os.open(name + _NOTE, _OPEN, dir_fd=self.fd)))
        except FileNotFoundError:
            raise Refused(errors.NOT_FOUND) from None

    def bytes_of(self, name: str, *, durable: bool) -> Descriptor:
        """Open the bytes of an upload that has a note, under its lock; empty if none have come."""
        file = self.find_bytes(name)
        if file is None:
            file = Descriptor(self._make(name))
            if durable:
                os.fsync(self.fd)
        return file

    def find_bytes(self, name: str) -> Descriptor | None:
        """Open the bytes of an upload; None if there is no file of them."""
        try:
            return Descriptor(os.open(name, _OPEN, dir_fd=self.fd))
        except FileNotFoundError:
            return None

    def look(self, name: str) -> os.stat_result | None:
        """Return what is known of the bytes of an upload; None if there is no file of them."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def adopt(self, fd: int, name: str, *, durable: bool) -> None:
        """Make the unnamed file `fd` the bytes of an upload, in place of those that it has."""
        new = name + _NEW
        with contextlib.suppress(FileNotFoundError):  # of a process that was killed here
            os.unlink(new, dir_fd=self.fd)
        self._link(fd, new)
        os.rename(new, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        if durable:
            os.fsync(self.fd)

    def drop_bytes(self, name: str) -> None:
        """Remove the bytes of an upload from here; published, they stay where they are."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def drop_note(self, name: str) -> None:
        """Remove the note of an upload: from here on it never was. Its bytes are dropped before."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name + _NOTE, dir_fd=self.fd)

    def list(self) -> Iterator[tuple[str, float]]:
        """Return name and time of the last use of each upload, in wall-clock seconds.

        Also those of bytes without a note, which a process that was killed has left behind.
        """
        with os.scandir(self.fd) as entries:
            for entry in entries:
                name = entry.name.removesuffix(_NOTE)
                if name != entry.name or not self.has(name):
                    with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                        yield name, entry.stat(follow_symlinks=False).st_mtime

    def _link(self, fd: int, name: str) -> None:
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def _make(self, name: str) -> int:
        fd = os.open(name, _OPEN | os.O_CREAT, self._tree.file_mode, dir_fd=self.fd)
        if os.fstat(fd).st_mode & 0o777 != self._tree.file_mode:
            os.fchmod(fd, self._tree.file_mode)  # whatever the umask
        return fd
