"""The tree of files: open, reserve, link, unlink and sync below one root, never through a link.

Speaks in keys (paths below the root) and raises OSError; knows nothing of the index or of asyncio.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from hmacfs import _core, _drafts, errors
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.model import File
from hmacfs.policy import os_errors
from hmacfs.store import locks
from hmacfs.store.keys import PRIVATE, bytes_of, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PRIVATE_MODE: Final = 0o700
CLOSED: Final = -1

READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""How a file is opened to be served: a FIFO must not hang the loop."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE_BYTES: Final = 8 << 20  # copied by one system call

_PLACE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# A remover may take an empty parent away between its making and our link. That is rare, so the
# first tries do not wait for removers; the last ones keep them out.
_FREE_TRIES: Final = 3
_LOCKED_TRIES: Final = 3
REMOVE_LOCK: Final = "remove.lock"
_ALONE: Final = contextlib.nullcontext()


def unheard(*_words: str) -> None:
    """Tell nobody."""


class Tree:
    """One storage directory, held open: what happens to its path afterwards does not matter.

    `file_mode` and `directory_mode` are exact, whatever the umask. Private state lies in
    ".hmacfs" (mode 0700), which no key can name. Below the root any directory may be a mount point, also of a
    file system that is mounted later; no symbolic link is followed but the administrator's own at an
    endpoint's directory or at the private one, and that once, when it is opened.
    """

    def __init__(
        self, root: str, *, file_mode: int, directory_mode: int, directories: Iterable[str] = ()
    ) -> None:
        """Open the existing directory `root`; `directories` are the endpoints'. Raises OSError.

        The private directory is opened if it can be: `open_private` says why it was not.
        """
        self.file_mode = file_mode
        self.directory_mode = directory_mode
        self.private_fd = CLOSED
        self.denied: Callable[[str, str], None] = unheard
        """Told of each file that stands and may not be read, and why."""
        self._homes: tuple[bytes, ...] = ()  # the endpoints' directories, inner ones before outer ones
        self._linked: dict[bytes, int] = {}  # those that are links, and what each led to
        self._left: list[int] = []  # what links of configurations before this one led to
        self.root_fd = os.open(root, _DIRECTORY)
        try:
            self.hold(directories)
            with contextlib.suppress(OSError):
                self.open_private()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the directories."""
        for fd in (*self._left, *self._linked.values(), self.private_fd, self.root_fd):
            if fd != CLOSED:
                os.close(fd)

    def open_private(self) -> None:
        """Open the private directory, making it if need be, unless it is open. Raises OSError."""
        if self.private_fd != CLOSED:
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(PRIVATE, 0o700, dir_fd=self.root_fd)
            os.fsync(self.root_fd)
        with contextlib.ExitStack() as undo:
            fd = os.open(PRIVATE, _DIRECTORY, dir_fd=self.root_fd)
            undo.callback(os.close, fd)
            # Drafts and index are nobody else's business. But a set-group-id bit stays: through it
            # the files get the group of the storage, by which a web server may read them.
            mode = os.fstat(fd).st_mode
            if mode & 0o777 != PRIVATE_MODE:
                os.fchmod(fd, PRIVATE_MODE | mode & stat.S_ISGID)
            undo.pop_all()
        self.private_fd = fd

    def hold(self, directories: Iterable[str]) -> None:
        """Take these for the endpoints' directories, and follow each that is a link, once.

        A link whose end is no directory, or cannot be opened, is not followed: `directory` raises ELOOP.
        """
        linked: dict[bytes, int] = {}
        homes = sorted((name.encode() for name in directories if name), key=len, reverse=True)
        for home in homes:
            try:
                os.close(_core.open_beneath(self.root_fd, home, _DIRECTORY))
            except OSError as error:
                if error.errno == errno.ELOOP:
                    with contextlib.suppress(OSError):
                        linked[home] = os.open(home, _DIRECTORY, dir_fd=self.root_fd)
        # Not closed yet: a thread may be about to use what was held until now.
        self._left += self._linked.values()
        self._homes, self._linked = tuple(homes), linked

    @property
    def homes(self) -> list[str]:
        """The endpoints' directories but the root."""
        return [home.decode() for home in self._homes]

    def follows(self, directory: str) -> bool:
        """Whether this is an endpoint's directory that is the administrator's link."""
        return os.fsencode(directory) in self._linked

    def home(self, key: str) -> bytes:
        """Return the endpoint's directory that `key` lies in; b"" if that is the root, or none."""
        return self._home(os.fsencode(key))

    def _home(self, path: bytes) -> bytes:
        for home in self._homes:
            if path.startswith(home) and path[len(home) : len(home) + 1] == b"/":
                return home
        return b""

    def _at(self, path: bytes) -> tuple[int, bytes]:
        """Return the directory below which `path` is looked up without following links, and the rest."""
        for home, fd in self._linked.items():
            if path == home:
                return fd, b"."
            if path.startswith(home + b"/"):
                return fd, path[len(home) + 1 :]
        return self.root_fd, path

    def open(self, key: str, *, cached: bool = False) -> File:
        """Open a regular file for reading. Raises Refused.

        `cached`: without asking a disk, for the event loop; BlockingIOError if one must be asked.
        """
        path = path_of(key)
        try:
            fd = _opener(cached=cached)(*self._at(path), READING)
        except OSError as error:
            if cached and error.errno == errno.EAGAIN:
                raise
            self.note_denial(key, error)
            raise os_errors.reading(error) from None
        try:
            found = os.fstat(fd)
        except OSError as error:
            os.close(fd)
            raise os_errors.reading(error) from None
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise Refused(errors.NOT_FOUND)
        return File(Descriptor(fd), found.st_size, found.st_mtime_ns, found.st_ino)

    def note_denial(self, key: str, error: OSError) -> None:
        """Tell of a file that may not be read: to the public it is not there."""
        if error.errno in os_errors.DENIED:
            self.denied(key, error.strerror or str(error))

    def look(self, key: str, *, cached: bool = False) -> os.stat_result | None:
        """Return what stands at `key`, whatever it is and not following it; None if nothing does.

        `cached` as with `open`.
        """
        try:
            with lent(_opener(cached=cached)(*self._at(bytes_of(key)), _PLACE)) as fd:
                return os.fstat(fd)
        except FileNotFoundError:
            return None

    def free_bytes(self, fd: int | None = None) -> int:
        """Return the bytes that an unprivileged writer still finds free where the open file `fd` lies.

        None asks of the storage directory itself.
        """
        room = os.fstatvfs(self.root_fd if fd is None else fd)
        return room.f_bavail * room.f_frsize

    def unnamed(self, key: str | None = None) -> int:
        """Open a new file that vanishes when it is closed without having been linked.

        It lies where `key` will be. FileExistsError if anything stands there, whatever it is.
        """
        if key is None:
            return _drafts.begin_file(self.root_fd, None, b".", self.file_mode)
        root, path = self._at(path_of(key))
        _, home = self._at(self._home(path_of(key)))
        return _drafts.begin_file(root, path, home or b".", self.file_mode)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first bytes of an open file to an empty one, whatever file systems they lie on."""
        done = 0
        while done < length:
            moved = os.sendfile(target, source, done, min(length - done, _PIECE_BYTES))
            if not moved:
                raise OSError(errno.EIO, "the file is shorter than it was")
            done += moved

    def waited_ns(self) -> int:
        """Return for how long the calling thread has waited in `unnamed` and `link`, of any tree, so far."""
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
        root, path = self._at(path_of(key))
        directory, _, name = path.rpartition(b"/")
        above, _, last = directory.rpartition(b"/")
        tries = _FREE_TRIES + (_LOCKED_TRIES if wait else 0)
        for attempt in range(tries):
            alone = _ALONE if attempt < _FREE_TRIES else self.locked(REMOVE_LOCK)
            try:
                with alone:
                    if attempt:
                        self._make(root, above)
                    _drafts.name_file(fd, root, above or b".", last or b".", name, self.directory_mode)
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
        try:
            directory, _, name = bytes_of(key).rpartition(b"/")
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
                with lent(self.directory(os.fsencode(above))) as parent, self.locked(REMOVE_LOCK):
                    os.rmdir(os.fsencode(name), dir_fd=parent)
            except FileNotFoundError:  # another remover has been here
                pass
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                    break
                raise
            directory = above
        return directory

    def is_bare(self, key: str) -> bool:
        """Whether the endpoint's directory that `key` lies in is not there, or holds nothing at all.

        So it is where the file system that belongs there is not mounted.
        """
        home = self.home(key)
        if not home:
            return False
        try:
            with lent(self.directory(home)) as fd, os.scandir(fd) as entries:
                return next(entries, None) is None
        except FileNotFoundError:
            return True

    def sync_directory(self, directory: str) -> tuple[int, int]:
        """Bring a directory's entries to stable storage; give its (device, inode)."""
        with lent(self.directory(os.fsencode(directory))) as fd:
            os.fsync(fd)
            found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def directory(self, path: bytes) -> int:
        """Open a directory below the root (b"": the root itself)."""
        fd, rest = self._at(path)
        return _core.open_beneath(fd, rest or b".", _DIRECTORY)

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = True, patience_s: float = locks.PATIENCE_S) -> Iterator[bool]:
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
        try:
            return os.open(name, flags, 0o600, dir_fd=self.private_fd)
        except FileNotFoundError:  # not of what the lock is for: that is there, or not, as before
            raise OSError(errno.ESTALE, "the private directory has been removed") from None

    def _make(self, root: int, directory: bytes) -> None:
        """Make what is missing of `directory` below `root`."""
        with contextlib.ExitStack() as opened:
            here = _core.open_beneath(root, b".", _DIRECTORY)
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
