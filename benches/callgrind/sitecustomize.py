"""Imported by every Python below `benches.instructions`: an openat2(2) that valgrind can follow.

Debian's valgrind knows no openat2 and answers ENOSYS. openat(2) opens the same files, and here nobody tries
to lead it astray. Costs a few Python calls more than the real ones.
"""

from __future__ import annotations

import contextlib
import os

from hmacfs import _core, _drafts  # noqa: TID251 - replaces parts of the mechanism, for a tool that cannot run it


def open_beneath(dir_fd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open like `_core.open_beneath`, trusting the path."""
    return os.open(path, flags, mode, dir_fd=dir_fd)


def open_cached(dir_fd: int, path: bytes, flags: int) -> int:
    """Open like `_core.open_cached`, trusting the path, and that the kernel knows it."""
    return os.open(path, flags, dir_fd=dir_fd)


def begin_file(root: int, path: bytes | None, home: bytes, mode: int) -> int:
    """Do as `_drafts.begin_file`, trusting the path and the umask."""
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(path, os.O_PATH | os.O_NOFOLLOW, dir_fd=root))
            raise FileExistsError(path)
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(home, flags, mode, dir_fd=root)
    except FileNotFoundError:
        return os.open(".", flags, mode, dir_fd=root)


def name_file(  # noqa: PLR0913, PLR0917 - as the real one
    file: int, root: int, above: bytes, directory: bytes, name: bytes, mode: int
) -> None:
    """Do as `_drafts.name_file`, trusting the path and the umask."""
    path = above + b"/" + directory
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode, dir_fd=root)
    parent = os.open(path, os.O_PATH, dir_fd=root)
    try:
        source = b"/proc/self/fd/%d" % file
        os.link(source, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=True)
    finally:
        os.close(parent)


_core.open_beneath = open_beneath
_core.open_cached = open_cached
_drafts.begin_file = begin_file
_drafts.name_file = name_file
