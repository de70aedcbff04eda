"""What the system said of a file, turned into what the client is told: one table for all that read or write.

Knows error numbers alone (errno(3)), neither files nor calls.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Dependency
from hmacfs.policy import breaker

_EXHAUSTED: Final = dict.fromkeys(
    (
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENOLCK,  # the kernel has no memory for a lock's record (flock(2))
    ),
    errors.BUSY,
)
"""What process and machine have run out of: other requests give it back when they end."""
# What nobody may read is not there: a storage's own "lost+found" must not answer 500 to a probe.
READING: Final = {
    **_EXHAUSTED,
    errno.ENOENT: errors.NOT_FOUND,
    errno.ENOTDIR: errors.NOT_FOUND,
    errno.ELOOP: errors.NOT_FOUND,  # a symbolic link on the way: RESOLVE_NO_SYMLINKS
    errno.EXDEV: errors.NOT_FOUND,  # out of the tree: RESOLVE_BENEATH
    errno.EISDIR: errors.NOT_FOUND,
    errno.ENXIO: errors.NOT_FOUND,  # a UNIX socket, or a device without a driver
    errno.ENODEV: errors.NOT_FOUND,
    errno.EACCES: errors.NOT_FOUND,
    errno.EPERM: errors.NOT_FOUND,
    errno.ENAMETOOLONG: errors.NAME_TOO_LONG,
    errno.EAGAIN: errors.BUSY,  # openat2 could not rule out that a rename led it astray
}
WRITING: Final = {
    **_EXHAUSTED,
    errno.EEXIST: errors.EXISTS,
    errno.ENOTDIR: errors.EXISTS,  # a file where the name needs a directory
    errno.ELOOP: errors.NOT_FOUND,  # a symbolic link on the way
    errno.ENAMETOOLONG: errors.NAME_TOO_LONG,
    errno.ENOSPC: errors.DISK_FULL,
    errno.EDQUOT: errors.DISK_FULL,
    errno.EFBIG: errors.DISK_FULL,
    errno.EAGAIN: errors.BUSY,
    errno.EBUSY: errors.BUSY,
    errno.EINTR: errors.BUSY,
}
PASSING: Final = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR})
"""What may pass by itself within a moment, so that the same step is worth another try."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What says that there is no room."""
DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
"""What is there, and may not be read by the server's user."""


def reading(error: OSError) -> Refused:
    """Return the refusal for a failed open or look-up."""
    return _refused(error, READING)


def writing(error: OSError) -> Refused:
    """Return the refusal for a failed reservation, write, publication or removal."""
    refused = _refused(error, WRITING)
    if error.errno in breaker.STORAGE_FAULTS:
        refused.broken = Dependency.STORAGE
    return refused


def _refused(error: OSError, table: dict[int, errors.Refusal]) -> Refused:
    refusal = table.get(error.errno or 0, errors.STORAGE_FAILED)
    if refusal is errors.NOT_FOUND or error.errno is None:
        return Refused(refusal)
    # The words of the error only: a path would tell the client where the storage lies.
    return Refused(refusal, os.strerror(error.errno))
