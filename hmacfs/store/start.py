"""The checks before service: whether this directory is one that the store can keep its promises in."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hmacfs.policy import os_errors
from hmacfs.store import reconcile, sweep
from hmacfs.store.faults import StorageError
from hmacfs.store.files import REMOVE_LOCK, Tree, lent
from hmacfs.store.keys import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOCK: Final = "open.lock"
LOCKS: Final = (REMOVE_LOCK, sweep.LOCK, reconcile.LOCK)
PROBE: Final = "probe"
PROBE_2: Final = "probe.2"
OPENAT2: Final = "openat2"
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_NEVER: Final = _UNSUPPORTED | {errno.ENOSYS, errno.EXDEV}


class Unsuitable(StorageError):  # noqa: N818 - the base class says that it is an error
    """The storage will never do, as it is: a start with it is refused."""


class _Full(Exception):  # noqa: N818 - no error: it only ends the tries
    """The disk is full, so what it supports cannot be tried out."""


def open_tree(path: str, *, file_mode: int, directory_mode: int, directories: Iterable[str] = ()) -> Tree:
    """Open the storage at `path`, making it if need be, and `prepare` it. Raises StorageError."""
    tree = open_root(path, file_mode=file_mode, directory_mode=directory_mode, directories=directories)
    try:
        prepare(tree, path)
    except StorageError:
        tree.close()
        raise
    return tree


def open_root(path: str, *, file_mode: int, directory_mode: int, directories: Iterable[str] = ()) -> Tree:
    """Open the storage at `path`, making it if need be, so that files can be served from it.

    `directories` are the endpoints'. Raises StorageError.
    """
    try:
        _make(Path(path).absolute(), directory_mode)
        tree = Tree(path, file_mode=file_mode, directory_mode=directory_mode, directories=directories)
    except OSError as error:
        raise StorageError(f"the storage {path} cannot be used: {words(error)}") from error
    try:
        with lent(tree.directory(b"")):
            pass
    except OSError as error:
        tree.close()
        raise StorageError(f"the storage {path} cannot be used: {words(error, OPENAT2)}") from error
    return tree


def prepare(tree: Tree, path: str) -> None:
    """Make and try what uploads need beside the storage directory itself; as often as one likes.

    Raises StorageError, whose words name the filesystem and what it lacks; Unsuitable if that will not change
    by itself.
    """
    try:
        tree.open_private()
        with tree.locked(LOCK, patience_s=math.inf):  # workers start together
            # A full disk is no reason not to serve what is there; uploads find out by themselves.
            with contextlib.suppress(_Full):
                _try_out(tree, path)
            tree.make_locks(LOCKS)
    except OSError as error:
        kind = Unsuitable if error.errno in _NEVER else StorageError
        said = f"the private directory {path}/{PRIVATE} cannot be used: {words(error)}"
        raise kind(said, full=error.errno in os_errors.FULL) from error


def filesystem_of(path: str) -> str:
    """Return the type of the filesystem that `path` lies on and where it is mounted, for messages."""
    try:
        device = Path(path).stat().st_dev
    except OSError:
        return "unknown filesystem"
    number = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == number:
                return f"{rest.split()[0]} mounted on {fields.split()[4]}"
    return "unknown filesystem"  # btrfs gives its subvolumes device numbers of their own


def _make(path: Path, mode: int) -> None:
    """Make the storage directory and its missing parents, and make their names last."""
    if path.is_dir():
        return
    _make(path.parent, 0o755)
    path.mkdir(mode, exist_ok=True)
    with lent(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as parent:
        os.fsync(parent)


def _try_out(tree: Tree, path: str) -> None:
    if _exists(tree, PRIVATE.upper()):
        raise Unsuitable(
            f"the storage {path} ({filesystem_of(path)}) does not tell upper from lower case, so one "
            "file could be reached by many names: use a case-sensitive directory"
        )
    for home in tree.homes:
        _try_home(tree, f"{path}/{home}", home)
    private = f"{path}/{PRIVATE}"
    with _step(private, "open a file without a name", "openat with O_TMPFILE"):
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=tree.private_fd)
    with lent(fd):
        _try_file(tree, fd, private)
        with _step(private, "remove a file", "unlinkat"):
            _forget(tree, PROBE)  # of a start that was killed here
        with _step(private, "name an unnamed file", "linkat through /proc/self/fd"):
            os.link(f"/proc/self/fd/{fd}", PROBE, src_dir_fd=tree.private_fd, dst_dir_fd=tree.private_fd)
        with _step(private, "rename a file", "renameat"):
            os.rename(PROBE, PROBE_2, src_dir_fd=tree.private_fd, dst_dir_fd=tree.private_fd)
        with _step(private, "remove a file", "unlinkat"):
            os.unlink(PROBE_2, dir_fd=tree.private_fd)


def _try_home(tree: Tree, path: str, home: str) -> None:
    """Try in an endpoint's directory what an upload does there, but for giving a name that could be seen."""
    try:
        os.close(tree.directory(home.encode()))
    except FileNotFoundError:
        return  # it is made by the first upload
    except OSError as error:
        raise StorageError(f"the directory {path} cannot be used: {words(error)}") from error
    with _step(path, "open a file without a name", "openat2 with O_TMPFILE"):
        fd = tree.unnamed(f"{home}/{PROBE}")
    with lent(fd):
        _try_file(tree, fd, path)


def _try_file(tree: Tree, fd: int, path: str) -> None:
    with _step(path, "reserve space", "fallocate"):
        tree.reserve(fd, 1)
    with _step(path, "cut a file", "ftruncate"):
        os.ftruncate(fd, 0)
    with _step(path, "set the time of a file", "utimensat"):
        os.utime(fd, ns=(0, 0))
    with _step(path, "sync a file", "fsync"):
        os.fsync(fd)


def _forget(tree: Tree, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=tree.private_fd)


def _exists(tree: Tree, name: str) -> bool:
    try:
        os.stat(name, dir_fd=tree.root_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _step(path: str, what: str, call: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        pass  # a file of that name is as good
    except OSError as error:
        if error.errno in os_errors.FULL:
            raise _Full from error
        advice = ": use ext4, XFS, Btrfs or tmpfs" if error.errno in _UNSUPPORTED else ""
        kind = Unsuitable if error.errno in _NEVER else StorageError
        raise kind(
            f"{path} ({filesystem_of(path)}) cannot {what} ({call}): {words(error, call)}{advice}"
        ) from error


def words(error: OSError, call: str = "") -> str:
    """Say why a system call failed, and what to do about it where that is known."""
    said = error.strerror or str(error)
    named = call or "what was tried"
    match error.errno:
        case errno.ENOSYS:
            return f"{said}: it takes Linux 5.6 or newer, and no sandbox that forbids {named}{_allow(call)}"
        case errno.EPERM:
            return f"{said}: a sandbox forbids {named}{_allow(call)}, or it is immutable (lsattr)"
        case errno.EACCES:
            return f"{said}: let the server's user (uid {os.geteuid()}) read, write and search it"
        case errno.ELOOP:
            return f"{said}: a symbolic link to no directory, or one that was put there since the start"
        case errno.EROFS:
            return f"{said}: mount it for writing"
    return said


def _allow(call: str) -> str:
    """Say what to allow: systemd.exec(5), seccomp(2)."""
    if call.startswith(OPENAT2):
        return " (in systemd RestrictSUIDSGID= and DynamicUser= do; in containers the seccomp profile)"
    return f" (allow {call.partition(' ')[0]} in the seccomp filter)" if call else ""
