"""Which files are worth keeping in memory, and for how long an answer from there is good."""

from __future__ import annotations

from typing import Final

from hmacfs.model import KiB, MiB

# From memory a GET of 1 KiB costs half of nginx's CPU and one of 64 KiB 0.7; what a larger file gains
# beside its copying is small, and it would push many small ones out.
FILE_BYTES: Final = 256 * KiB

# For each worker; holds the thumbnails and voice messages of a busy hour.
LIMIT_BYTES: Final = 64 * MiB

# A file that is deleted, or whose time is over, must be gone for every worker within this time.
GOOD_FOR_S: Final = 1.0

# Targets asked for once; a second request within the last so many is taken as the first of more.
SEEN_TARGETS: Final = 4096


def good_for_s(size: int, expires: float | None, now: float) -> float:
    """Give for how long a file of `size` bytes may be answered from memory; 0 if not at all."""
    if size > FILE_BYTES:
        return 0.0
    return GOOD_FOR_S if expires is None else max(min(GOOD_FOR_S, expires - now), 0.0)
