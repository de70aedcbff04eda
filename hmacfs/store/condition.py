"""Whether a storage can take uploads now: what they need is made, and looked after from then on.

Downloads need the storage directory alone. Uploads need the private directory, the unfinished uploads' below
it, the locks and the index, each the very one that the workers hold open. Blocks; for one thread at a time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.policy import os_errors
from hmacfs.store import index as indices
from hmacfs.store import indexes, start
from hmacfs.store.faults import StorageError
from hmacfs.store.files import CLOSED
from hmacfs.store.keys import PRIVATE

if TYPE_CHECKING:
    import sqlite3

    from hmacfs.model import Durability
    from hmacfs.store.files import Tree
    from hmacfs.store.indexes import Connections
    from hmacfs.store.sessions.folder import Folder

# What takes long, as reading a large index that is damaged, is not done all the time.
REST: Final = 10


class CheckResult(NamedTuple):
    """What a look has found."""

    fault: StorageError | None
    """Why uploads cannot be taken; None if they can be."""
    connections: Connections | None = None
    """To be used from now on in place of those before; None: they stay."""


class Condition:
    """What one worker knows of the condition of its storage."""

    def __init__(self, path: str, tree: Tree, folder: Folder, durability: Durability) -> None:
        """Begin with nothing open but `tree`, at `path`."""
        self._path = path
        self._tree = tree
        self._folder = folder
        self._index = index_path(path)
        self._files = indexes.Files(self._index)
        self._is_open = False
        self._can_read = False
        self._doubtful = False  # whether the index must be read whole before it is trusted again
        self._fault: StorageError | None = None
        self._rest_until_s = 0.0
        self.durability = durability

    def look(self) -> CheckResult:
        """Look after everything, and open what is not open yet."""
        if self._is_open:
            words = self._lost()
            self._fault = StorageError(words) if words else None
            return CheckResult(self._fault)
        began_s = time.monotonic()
        if began_s < self._rest_until_s:
            return CheckResult(self._fault)
        try:
            connections = self._open()
        except StorageError as fault:
            self._fault = fault
            self._rest_until_s = began_s + REST * (time.monotonic() - began_s)
            return CheckResult(fault, None if self._can_read else self._read())
        self._is_open, self._fault, self._doubtful = True, None, False
        return CheckResult(None, connections)

    def shut(self, error: sqlite3.Error) -> CheckResult:
        """Trust the index no more, which answers so, until it has been read whole."""
        self._is_open, self._can_read = False, True
        self._doubtful = True
        self._fault = indices.unusable(self._index, error)
        return CheckResult(self._fault, indexes.absent())

    def inodes(self) -> tuple[int, ...]:
        """Return the inodes of the index's files that are open; none if they are not."""
        return self._files.inodes() if self._is_open else ()

    def _open(self) -> Connections:
        try:
            start.prepare(self._tree, self._path)
            self._folder.open()
            # Workers start together, and only one may make or migrate the index.
            with self._tree.locked(start.LOCK):
                connections = indexes.connect(self._index, self.durability, verify=self._doubtful)
                try:
                    self._files.remember()
                    os.fsync(self._tree.private_fd)
                except BaseException:
                    connections.close()
                    raise
        except OSError as error:
            full = error.errno in os_errors.FULL
            raise StorageError(
                f"the storage {self._path} cannot be used: {start.words(error)}", full=full
            ) from error
        return connections

    def _read(self) -> Connections | None:
        """Return what look-ups can be asked of meanwhile."""
        connections = indexes.to_read(self._index)
        self._can_read = connections is not None
        return connections

    def _lost(self) -> str:
        """Say what is no more what is held open."""
        for path, fd in (
            (self._path, self._tree.root_fd),
            (f"{self._path}/{PRIVATE}", self._tree.private_fd),
            (f"{self._path}/{PRIVATE}/{self._folder.name}", self._folder.fd),
        ):
            if words := changed(path, fd):
                return words
        return self._files.fault()


def changed(path: str, fd: int) -> str:
    """Say whether another directory stands at `path` than the one that is open as `fd`; "" if not."""
    if fd == CLOSED:
        return ""
    try:
        if os.path.samestat(os.stat(path), os.fstat(fd)):  # noqa: PTH116 - text
            return ""
    except FileNotFoundError:
        return f"{path} has been removed while it is in use: restart hmacfs"
    except OSError as error:
        return f"{path} cannot be looked at: {start.words(error)}"
    return f"another directory stands at {path} than the one in use: restart hmacfs"


def index_path(path: str) -> str:
    """Return the path of the index of the storage at `path`."""
    return str(Path(path, PRIVATE, indices.NAME))
