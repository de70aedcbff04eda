"""Locks on open files (flock(2)), waited for with a bound: what holds one may hang, and threads are few.

Blocks for at most PATIENCE_S. A lock belongs to one opening of its file: closing all descriptors of that
ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is done under a lock is a few writes and, on a site that promises durability, a flush or two.
PATIENCE_S: Final = 10.0
# flock(2) knows no time limit, so it is asked again: soon first, for nearly all are held for microseconds.
_FIRST_PAUSE_S: Final = 0.0002
_LONGEST_PAUSE_S: Final = 0.01

SHARED: Final = fcntl.LOCK_SH
EXCLUSIVE: Final = fcntl.LOCK_EX


@contextlib.contextmanager
def held(fd: int, kind: int, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock of an open file, SHARED or EXCLUSIVE.

    Raises Refused BUSY if others hold it for longer than `patience_s`, and OSError.
    """
    take(fd, kind, patience_s=patience_s)
    try:
        yield
    finally:
        unlock(fd)


def take(fd: int, kind: int, *, patience_s: float = PATIENCE_S) -> None:
    """Take the lock, until `unlock`. Raises as `held`."""
    if not try_lock(fd, kind):
        _wait(fd, kind, patience_s)


def try_lock(fd: int, kind: int) -> bool:
    """Take the lock if that needs no waiting; return whether it is held. Raises OSError."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Let go of the lock. Raises OSError."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def _wait(fd: int, kind: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    pause_s = _FIRST_PAUSE_S
    while not try_lock(fd, kind):
        if time.monotonic() >= deadline:
            raise Refused(errors.BUSY, "others have held a lock of the storage for too long")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
