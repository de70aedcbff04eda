"""How much space is taken before the bytes of an upload come, and how many inodes are left to files."""

from __future__ import annotations

from typing import Final

from hmacfs.model import MiB

# Reserving costs more than writing 64 KiB: blocks are chosen at once instead of when they are written
# back, and each must be marked as written later. For a large body that is little, and keeps it in one piece.
SMALL_BYTES: Final = 1 * MiB

# As many uploads of all workers as may be under way at once.
CROWD: Final = 16_384

# Taken when an upload begins, if it is not smaller. Whoever holds more has sent as much.
FIRST_BYTES: Final = SMALL_BYTES
# Of a fast one no more than this, so that a gigabyte takes 21 steps, each a way to a thread and back.
MOST_AHEAD_BYTES: Final = 64 * MiB

# Unfinished uploads leave one inode in so many to files, to the index and to other programs.
KEPT_INODES: Final = 20
# An unfinished upload is a note, a file of bytes, and at worst the list of its owner's.
UPLOAD_INODES: Final = 3


def must_reserve(length: int, spare_bytes: int) -> bool:
    """Say whether `length` bytes must be reserved where `spare_bytes` are left beside them and the margin.

    Not if very many such uploads at once would find room without touching the margin: then nobody can take
    away what this one needs. Near the margin every byte is reserved, since others may look at the same time.
    """
    return length > SMALL_BYTES or spare_bytes < CROWD * length


def ahead(came: int) -> int:
    """Return how many bytes are taken beyond the `came` that an upload has sent or is about to write."""
    return min(max(came, FIRST_BYTES), MOST_AHEAD_BYTES)


def leaves_inodes(free: int, total: int) -> bool:
    """Return whether one more unfinished upload leaves inodes enough; `total` 0: they are not counted."""
    return total == 0 or free - UPLOAD_INODES >= total // KEPT_INODES
