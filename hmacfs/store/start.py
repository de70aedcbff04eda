"""The checks before service: whether this directory is one that the store can keep its promises in."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hmacfs.store import reconcile, sweep
from hmacfs.store.faults import StorageError
from hmacfs.store.files import PRIVATE, REMOVE_LOCK, Tree, lent

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK: Final = "open.lock"
LOCKS: Final = (REMOVE_LOCK, sweep.LOCK, reconcile.LOCK)
PROBE: Final = "probe"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})


class _Full(Exception):  # noqa: N818 - no error: it only ends the tries
    """The disk is full, so what it supports cannot be tried out."""


def open_tree(path: str, *, file_mode: int, directory_mode: int) -> Tree:
    """Open the storage at `path`, making it if need be, and try all that publication needs there.

    Raises StorageError, whose words name the filesystem and what it lacks.
    """
    try:
        _make(Path(path).absolute(), directory_mode)
        tree = Tree(path, file_mode=file_mode, directory_mode=directory_mode)
    except OSError as error:
        raise StorageError(f"the storage {path} cannot be used: {_words(error)}") from error
    try:
        with tree.locked(LOCK, patience_s=math.inf):  # workers start together
            # A full disk is no reason not to serve what is there; uploads find out by themselves.
            with contextlib.suppress(_Full):
                _try_out(tree, path)
            tree.make_locks(LOCKS)
    except StorageError:
        tree.close()
        raise
    except OSError as error:  # of the lock itself
        tree.close()
        raise StorageError(f"the storage {path} cannot be used: {_words(error)}") from error
    return tree


def filesystem_of(path: str) -> str:
    """Give the type of the filesystem that `path` lies on and where it is mounted, for messages."""
    device = Path(path).stat().st_dev
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
        raise StorageError(
            f"the storage {path} ({filesystem_of(path)}) does not tell upper from lower case, so one "
            "file could be reached by many names: use a case-sensitive directory"
        )
    with _step(path, "open a file without a name (O_TMPFILE)"):
        fd = tree.unnamed()
    try:
        with _step(path, "reserve space (fallocate)"):
            tree.reserve(fd, 1)
        with _step(path, "name an unnamed file (linkat through /proc/self/fd)"):
            with contextlib.suppress(FileNotFoundError):  # of a start that was killed here
                os.unlink(PROBE, dir_fd=tree.private_fd)
            os.link(f"/proc/self/fd/{fd}", PROBE, src_dir_fd=tree.private_fd, dst_dir_fd=tree.private_fd)
            os.unlink(PROBE, dir_fd=tree.private_fd)
    finally:
        os.close(fd)


def _exists(tree: Tree, name: str) -> bool:
    try:
        os.stat(name, dir_fd=tree.root_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _step(path: str, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _Full from error
        advice = ": use ext4, XFS, Btrfs or tmpfs" if error.errno in _UNSUPPORTED else ""
        raise StorageError(
            f"the storage {path} ({filesystem_of(path)}) cannot {what}: {_words(error)}{advice}"
        ) from error


def _words(error: OSError) -> str:
    if error.errno == errno.ENOSYS:
        return "the kernel is too old or a sandbox forbids openat2; Linux 5.6 or newer is needed"
    return error.strerror or str(error)
