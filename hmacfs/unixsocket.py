"""The name of a unix socket: taken only if nothing listens there, given up only if it is still ours.

Knows one path at a time and nothing of who listens or why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import NamedTuple


class Name(NamedTuple):
    """The name of a socket, and the file that it was when it was made."""

    path: str
    device: int
    inode: int


def bind(sock: socket.socket, path: str, mode: int, group: int = -1) -> Name:
    """Return `sock` the name `path` with `mode` and `group` (-1: the process's own) and return the name.

    A socket that a crash left behind is replaced, one in use is not. Raises OSError.
    """
    clear(path)
    with contextlib.ExitStack() as undo:
        mask = os.umask(0o777)  # nobody may connect before mode and group are right
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        undo.callback(os.unlink, path)
        if group >= 0:
            os.chown(path, -1, group)
        os.chmod(path, mode)  # noqa: PTH101 - a socket, not a file
        facts = os.lstat(path)
        undo.pop_all()
    return Name(path, facts.st_dev, facts.st_ino)


def clear(path: str) -> None:
    """Remove a socket at `path` on which nothing listens. Raises OSError if anything else is there."""
    with contextlib.suppress(FileNotFoundError):
        if words := in_use(path):
            raise OSError(errno.EADDRINUSE, words)
        os.unlink(path)  # noqa: PTH108 - a socket, not a file


def in_use(path: str) -> str:
    """Say why the name `path` cannot be taken; "" if nothing listens there. Raises OSError if it is free."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return f"the name is in use: {path} exists and is not a socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return ""
        except PermissionError:
            raise
        except OSError:
            pass  # a queue that is full (EAGAIN) or a socket of another type (EPROTOTYPE): both are alive
    return f"another server listens on {path}"


def remove(name: Name) -> None:
    """Remove a name, unless another socket has taken it since."""
    with contextlib.suppress(OSError):
        facts = os.lstat(name.path)
        if (facts.st_dev, facts.st_ino) == (name.device, name.inode):
            os.unlink(name.path)  # noqa: PTH108 - a socket, not a file
