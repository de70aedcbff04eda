"""How the memory for buffers is shared: among workers, and among the transfers of one that must hold bytes.

Nothing is refused. A buffer is as large as memory allows, each thread of `DiskThreads` can always have the
smallest one, and where not even those fit there are fewer threads, for which transfers wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hmacfs.model import KiB
from hmacfs.policy import buffer_classes
from hmacfs.policy.buffer_classes import Classes
from hmacfs.policy.buffers import DISK_THREADS, MOST_LENT_BYTES

# What a worker reads heads and small uploads with, whatever its share.
LEAST_SLAB_BYTES: Final = 128 * KiB
# The least share of a worker: that, and one buffer of the smallest class as large as that.
LEAST_SHARE_BYTES: Final = 2 * LEAST_SLAB_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker may use."""

    slab: int
    """Bytes of its own slab, with which it reads for everybody in turn."""
    lent: int
    """Bytes of the slabs that it lends to transfers which must hold what they read."""
    least: int
    """Bytes of the smallest of those."""
    threads: int
    """Transfers that may hold one at once, at least 1."""
    classes: Classes
    """Those for which there is memory."""


def share(limit: int, workers: int, wanted: Classes) -> Share:
    """Divide `limit` bytes among `workers`; no share is below LEAST_SHARE_BYTES."""
    own = max(limit // workers, LEAST_SHARE_BYTES)
    most = min(wanted.most, buffer_classes.floor(own // 2))
    fitting = Classes(least=min(wanted.least, most), most=most)
    slab = max(most, LEAST_SLAB_BYTES)
    lent = min(own - slab, DISK_THREADS * min(most, MOST_LENT_BYTES))
    least = min(fitting.least, MOST_LENT_BYTES)
    threads = min(lent // least, DISK_THREADS)
    return Share(slab=slab, lent=lent, least=least, threads=threads, classes=fitting)


def to_lend(want: int, left: int, others: int, least: int) -> int:
    """Return the size to lend to who asks for `want` bytes, `least` times a power of two.

    `left` bytes are not lent, and `others` may yet come, each of which must find `least`.
    """
    size = max(want, least)
    while size > least and size + others * least > left:
        size //= 2
    return size
