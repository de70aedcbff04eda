"""Which files are worth being held ready, and for how long an answer is good without another look."""

from __future__ import annotations

from typing import Final

from hmacfs.model import KiB, MiB

# A file up to this size is held in memory, a larger one open. Sent to 16 clients on one core: 1 KiB from
# memory costs 4.2 us and by sendfile(2) 5.4, 16 KiB 6.5 and 5.7, 64 KiB 13.2 and 10.8.
BODY_BYTES: Final = 8 * KiB

# For each worker; holds the thumbnails and voice messages of a busy hour.
LIMIT_BYTES: Final = 64 * MiB

# Open files held by each worker; their descriptors are taken from those of connections.
LIMIT_FILES: Final = 256
FILES_SHARE: Final = 8

# What is sent of an open file at once; more is shared out in turns by `transfer`.
SPAN_BYTES: Final = 256 * KiB

# A file that is deleted, or whose time is over, must be gone for every worker within this time.
GOOD_FOR_S: Final = 1.0

# What is freed and soon wanted again: with the head of an upload come tens of KiB that must be held until its
# file is open. Given back to the system each time, it cost a quarter of the CPU time of a 64 KiB upload.
FREED_BYTES: Final = 4 * MiB

# Targets asked for once; a second request within the last so many is taken as the first of more.
SEEN_TARGETS: Final = 16_384


def files(descriptors: int) -> int:
    """Return how many files may be held open by a worker that may have so many descriptors."""
    return min(LIMIT_FILES, descriptors // FILES_SHARE)
