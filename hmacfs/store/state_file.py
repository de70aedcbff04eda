"""Small memos that outlive a process, in the private directory of the storage: whole, or as they were before.

A memo is a convenience: after a power cut the newest may be lost, and what cannot be read is not there.
"""

from __future__ import annotations

import os
from typing import Final

from hmacfs.store.files import lent

_READING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITING: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
# Far more than any memo has; what is larger is none of ours.
MOST_BYTES: Final = 1 << 20


def read(directory: int, name: str) -> bytes:
    """Return the memo called `name`; nothing if there is none, or it cannot be read."""
    try:
        with lent(os.open(name, _READING, dir_fd=directory)) as fd:
            return os.read(fd, MOST_BYTES)
    except OSError:
        return b""


def write(directory: int, name: str, memo: bytes) -> None:
    """Put `memo` in the place of the one called `name`; one process may do so at a time. Raises OSError."""
    new = f"{name}.new"
    with lent(os.open(new, _WRITING, 0o600, dir_fd=directory)) as fd:
        if os.write(fd, memo) != len(memo):
            raise OSError(f"a part of {name} was not written")
    os.replace(new, name, src_dir_fd=directory, dst_dir_fd=directory)
