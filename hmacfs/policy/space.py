"""Whether the space of an upload must be taken before its bytes come."""

from __future__ import annotations

from typing import Final

from hmacfs.model import MiB

# Reserving costs more than writing 64 KiB: blocks are chosen at once instead of when they are written
# back, and each must be marked as written later. For a large body that is little, and keeps it in one piece.
SMALL_BYTES: Final = 1 * MiB

# As many uploads of all workers as may be under way at once.
CROWD: Final = 16_384


def must_reserve(length: int, spare_bytes: int) -> bool:
    """Say whether `length` bytes must be reserved where `spare_bytes` are left beside them and the margin.

    Not if a whole crowd of such uploads would find room without touching the margin: then nobody can take
    away what this one needs. Near the margin every byte is reserved, since others may look at the same time.
    """
    return length > SMALL_BYTES or spare_bytes < CROWD * length
