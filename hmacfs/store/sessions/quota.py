"""How many unfinished uploads each owner has, at all workers: a small file for each owner, with their names.

A name is added before the upload stands, under the file's lock, and goes when the list is full and there is
no such upload any more: so nobody is counted short, and a process that is killed leaves nothing that stays.
Blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.store import locks
from hmacfs.store.files import CLOSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hmacfs.store.files import Tree

DIRECTORY: Final = "owners"
_NAME_CHARACTERS: Final = 32
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Quota:
    """The lists of one storage."""

    def __init__(self, tree: Tree, is_open: Callable[[str], bool]) -> None:
        """Keep them in the private directory of `tree`; `is_open`: whether an upload is unfinished."""
        self._tree = tree
        self._is_open = is_open
        self._opening = threading.Lock()
        self._opened = CLOSED

    def close(self) -> None:
        """Let go of the directory."""
        if self._opened != CLOSED:
            os.close(self._opened)

    @property
    def _fd(self) -> int:
        """The directory of the lists, made and opened at its first use. Raises OSError."""
        with self._opening:
            if self._opened == CLOSED:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(DIRECTORY, 0o700, dir_fd=self._tree.private_fd)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                self._opened = os.open(DIRECTORY, flags, dir_fd=self._tree.private_fd)
            return self._opened

    @contextlib.contextmanager
    def counting(self, holder: str, name: str, most: int) -> Iterator[None]:
        """Count `name` as an upload of `holder`, which is begun meanwhile. A `holder` "" has no quota.

        Raises Refused TOO_MANY_UPLOADS if the holder has `most` others; BUSY, and OSError.
        """
        if not holder:
            yield
            return
        with self._held(_file_of(holder)) as fd:
            names = _read(fd)
            if name not in names:
                if len(names) >= most:
                    names = [other for other in names if self._is_open(other)]
                if len(names) >= most:
                    raise Refused(errors.TOO_MANY_UPLOADS)
                _write(fd, [*names, name])
            yield

    def sweep(self, is_over: Callable[[float], bool]) -> None:
        """Remove lists in which nothing was written for so long that `is_over`, and which name no upload."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError, Refused):
                    if is_over(entry.stat(follow_symlinks=False).st_mtime):
                        self._sweep(entry.name)

    def _sweep(self, file: str) -> None:
        with self._held(file) as fd:
            names = [name for name in _read(fd) if self._is_open(name)]
            if names:
                _write(fd, names)
            else:
                os.unlink(file, dir_fd=self._fd)

    @contextlib.contextmanager
    def _held(self, file: str) -> Iterator[int]:
        """Hold the lock of a list; one that was removed meanwhile is made anew."""
        while True:
            fd = os.open(file, _OPEN, 0o600, dir_fd=self._fd)
            try:
                with locks.held(fd, locks.EXCLUSIVE):
                    if os.fstat(fd).st_nlink:
                        yield fd
                        return
            finally:
                os.close(fd)


def _file_of(holder: str) -> str:
    return hashlib.sha256(holder.encode(errors="surrogatepass")).hexdigest()


def _read(fd: int) -> list[str]:
    text = os.pread(fd, os.fstat(fd).st_size, 0)
    # A power cut may have left anything.
    return [name for name in text.decode("ascii", "replace").split() if len(name) == _NAME_CHARACTERS]


def _write(fd: int, names: list[str]) -> None:
    text = "".join(f"{name}\n" for name in names).encode()
    os.pwrite(fd, text, 0)
    os.ftruncate(fd, len(text))
