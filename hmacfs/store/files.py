"""The tree of files: open, reserve, link, unlink and sync below one root, never through a link.

Speaks in keys (paths below the root) and raises OSError; knows nothing of the index or of asyncio.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from hmacfs import _core, _drafts, errors
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.model import File
from hmacfs.store import faults, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PRIVATE: Final = ".hmacfs"
# An empty, "." or ".." segment, or NUL. Heads are checked long before; this guards every other caller.
_NO_KEY: Final = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|\0")

READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""How a file is opened to be served: a FIFO must not hang the loop."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_EDGES: Final = frozenset(("", ".", "/"))  # what a doubtful key begins with

_PLACE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# A remover may take an empty parent away between its making and our link. That is rare, so the
# first tries do not wait for removers; the last ones keep them out.
_FREE_TRIES: Final = 3
_LOCKED_TRIES: Final = 3
REMOVE_LOCK: Final = "remove.lock"
_ALONE: Final = contextlib.nullcontext()


class Tree:
    """One storage directory, held open: what happens to its path afterwards does not matter.

    `file_mode` and `directory_mode` are exact, whatever the umask. Private state lies in
    ".hmacfs" (mode 0700), which no key can name.
    """

    def __init__(self, root: str, *, file_mode: int, directory_mode: int) -> None:
        """Open the existing directory `root` and make its private one. Raises OSError."""
        self.file_mode = file_mode
        self.directory_mode = directory_mode
        with contextlib.ExitStack() as undo:
            self.root_fd = os.open(root, _DIRECTORY)
            undo.callback(os.close, self.root_fd)
            with contextlib.suppress(FileExistsError):
                os.mkdir(PRIVATE, 0o700, dir_fd=self.root_fd)
                os.fsync(self.root_fd)
            self.private_fd = _core.open_beneath(self.root_fd, PRIVATE.encode(), _DIRECTORY)
            undo.callback(os.close, self.private_fd)
            # Drafts and index are nobody else's business. But a set-group-id bit stays: through it
            # the files get the group of the storage, by which a web server may read them.
            inherited = os.fstat(self.private_fd).st_mode & stat.S_ISGID
            os.fchmod(self.private_fd, 0o700 | inherited)
            undo.pop_all()

    def close(self) -> None:
        """Let go of the directories."""
        os.close(self.private_fd)
        os.close(self.root_fd)

    def open(self, key: str, *, cached: bool = False) -> File:
        """Open a regular file for reading. Raises Refused.

        `cached`: without asking a disk, for the event loop; BlockingIOError if one must be asked.
        """
        path = path_of(key)
        try:
            fd = _opener(cached=cached)(self.root_fd, path, READING)
        except OSError as error:
            if cached and error.errno == errno.EAGAIN:
                raise
            raise faults.reading(error) from None
        try:
            found = os.fstat(fd)
        except OSError as error:
            os.close(fd)
            raise faults.reading(error) from None
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise Refused(errors.NOT_FOUND)
        return File(Descriptor(fd), found.st_size, found.st_mtime_ns, found.st_ino)

    def look(self, key: str, *, cached: bool = False) -> os.stat_result | None:
        """Give what stands at `key`, whatever it is and not following it; None if nothing does.

        `cached` as with `open`.
        """
        try:
            with lent(_opener(cached=cached)(self.root_fd, path_of(key), _PLACE)) as fd:
                return os.fstat(fd)
        except FileNotFoundError:
            return None

    def free_bytes(self) -> int:
        """Give the bytes that an unprivileged writer still finds free."""
        room = os.fstatvfs(self.root_fd)
        return room.f_bavail * room.f_frsize

    def unnamed(self, key: str | None = None) -> int:
        """Open a new file that vanishes when it is closed without having been linked.

        FileExistsError if anything stands at `key`, whatever it is.
        """
        path = None if key is None else path_of(key)
        return _drafts.begin_file(self.root_fd, path, self.private_fd, self.file_mode)

    def waited_ns(self) -> int:
        """Give for how long the calling thread has waited in `unnamed` and `link`, of any tree, so far."""
        return _drafts.waited_ns()

    def reserve(self, fd: int, length: int, start: int = 0) -> None:
        """Reserve disk space from `start` on; where that is unknown, there is only the margin."""
        if length == 0:
            return
        try:
            _core.fallocate_keep(fd, length, start)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise

    def link(self, fd: int, key: str, *, wait: bool = True) -> None:
        """Give the unnamed file its name, making missing parents. FileExistsError if it is taken.

        Unless it may `wait` for removers, BlockingIOError if that must be; else Refused BUSY after too long.
        """
        directory, _, name = path_of(key).rpartition(b"/")
        above, _, last = directory.rpartition(b"/")
        tries = _FREE_TRIES + (_LOCKED_TRIES if wait else 0)
        for attempt in range(tries):
            alone = _ALONE if attempt < _FREE_TRIES else self.locked(REMOVE_LOCK)
            try:
                with alone:
                    if attempt:
                        self._make(above)
                    _drafts.name_file(
                        fd, self.root_fd, above or b".", last or b".", name, self.directory_mode
                    )
            except FileNotFoundError:  # nothing is above, or an empty parent was removed in between
                if attempt == tries - 1:
                    if not wait:
                        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
                    raise
            else:
                return

    def unlink(self, key: str, *, mtime_ns: int | None = None) -> os.stat_result | None:
        """Remove the regular file at `key`; None if there is none, or not the one of `mtime_ns`.

        Names are never replaced, only freed, and every remover holds one lock: so nothing newer
        can have taken the name between the look and the removal.
        """
        directory, _, name = path_of(key).rpartition(b"/")
        try:
            with lent(self.directory(directory)) as parent, self.locked(REMOVE_LOCK):
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode) or mtime_ns not in {None, found.st_mtime_ns}:
                    return None
                os.unlink(name, dir_fd=parent)
                return found
        except (FileNotFoundError, NotADirectoryError):
            return None

    def prune(self, key: str, keep: frozenset[str]) -> str:
        """Remove the empty directories above `key` up to one in `keep`; give the first that stays."""
        directory = key.rpartition("/")[0]
        while directory and directory not in keep:
            above, _, name = directory.rpartition("/")
            try:
                with lent(self.directory(above.encode())) as parent, self.locked(REMOVE_LOCK):
                    os.rmdir(name, dir_fd=parent)
            except FileNotFoundError:  # another remover has been here
                pass
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                    break
                raise
            directory = above
        return directory

    def sync_directory(self, directory: str) -> tuple[int, int]:
        """Bring a directory's entries to stable storage; give its (device, inode)."""
        with lent(self.directory(directory.encode())) as fd:
            os.fsync(fd)
            found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def directory(self, path: bytes) -> int:
        """Open a directory below the root (b"": the root itself)."""
        return _core.open_beneath(self.root_fd, path or b".", _DIRECTORY)

    @contextlib.contextmanager
    def locked(
        self, name: str, *, wait: bool = True, patience_s: float = locks.PATIENCE_S
    ) -> Iterator[bool]:
        """Hold a lock among all processes of this storage; False if it may not `wait` and others hold it.

        Raises Refused BUSY if they hold it for longer than `patience_s`.
        """
        with lent(self._lock_file(name)) as fd:  # closing lets go, even if this process is killed
            if wait:
                with locks.held(fd, locks.EXCLUSIVE, patience_s=patience_s):
                    yield True
            else:
                yield locks.try_lock(fd, locks.EXCLUSIVE)

    def make_locks(self, names: Iterable[str]) -> None:
        """Make lock files that will be needed: a disk without inodes must not keep us from removing."""
        for name in names:
            os.close(self._lock_file(name))

    def _lock_file(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=self.private_fd)

    def _make(self, directory: bytes) -> None:
        """Make what is missing of `directory`."""
        with contextlib.ExitStack() as opened:
            here = self.directory(b"")
            opened.callback(os.close, here)
            for name in filter(None, directory.split(b"/")):
                here = self._child(here, name)
                opened.callback(os.close, here)

    def _child(self, parent: int, name: bytes) -> int:
        """Open the directory `name` in `parent`, making it if need be."""
        try:
            os.mkdir(name, self.directory_mode, dir_fd=parent)
        except FileExistsError:
            return _core.open_beneath(parent, name, _DIRECTORY)
        with lent(_core.open_beneath(parent, name, _DIRECTORY)) as fd:
            mode = os.fstat(fd).st_mode
            if mode & 0o777 != self.directory_mode:
                # An inherited set-group-id bit stays: it is how a web server's group gets to read.
                os.fchmod(fd, self.directory_mode | mode & stat.S_ISGID)
            return os.dup(fd)


def _opener(*, cached: bool) -> Callable[[int, bytes, int], int]:
    return _core.open_cached if cached else _core.open_beneath


@contextlib.contextmanager
def lent(fd: int) -> Iterator[int]:
    """Lend a descriptor and close it afterwards."""
    try:
        yield fd
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=256)  # an upload asks at its beginning and at its end
def path_of(key: str) -> bytes:
    """Give the path that `key` names, the only way to make one. Refused NOT_FOUND if it names none.

    The private directory is compared without regard to case, for storage that has none.
    """
    # Only what can be a fault is searched for one, character by character.
    doubtful = "/." in key or "//" in key or "\0" in key or key[:1] in _EDGES or key.endswith("/")
    if doubtful and (_NO_KEY.search(key) or key[: len(PRIVATE)].casefold() == PRIVATE):
        raise Refused(errors.NOT_FOUND)
    try:
        return key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise Refused(errors.NOT_FOUND) from None
