"""Which slab a transfer reads with and how much it may move in one turn of the loop.

Sizes live here and nowhere else; `transfer` and `_core` only obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.model import KiB, MiB, Plan

if TYPE_CHECKING:
    from hmacfs.model import Facts

# What a connection may read before its request is known: enough for a head and the first bytes
# that follow it. While an upload waits for its file, this much of it may have to be held.
HEAD_BYTES: Final = 32 * KiB

# One read of an upload. A prototype received 100 MiB for 1.11 CPU s/GB with 32 KiB, 0.51 with
# 256 KiB and 0.37 with 1 MiB: the cost is the call, not the copy.
SLAB_BYTES: Final = 1 * MiB

# What one reply may send before other connections get their turn. nginx (sendfile_max_chunk)
# uses 2 MiB, h2o caps at 1 MiB: a fast client on loopback would otherwise hold the loop.
TURN_BYTES: Final = 1 * MiB

# What all replies together should send in one turn of the loop: about 2 ms of copying, the longest that
# a small request should wait behind downloads under way.
ALL_TURNS_BYTES: Final = 4 * MiB
LEAST_TURN_BYTES: Final = 64 * KiB


def for_upload(facts: Facts) -> Plan:
    """Choose how a body is received: never a larger slab than the body can fill.

    A body without a length is chunked, and its framing is read byte by byte: 1 MiB of one-byte chunks
    took 1.1 s, in which nobody else was served. So it is read in small pieces, 35 ms at worst.
    """
    slab = SLAB_BYTES
    while slab // 2 >= max(facts.length or 0, HEAD_BYTES):
        slab //= 2
    return Plan(slab=slab, budget=TURN_BYTES)


def for_download(facts: Facts) -> Plan:
    """Choose how a reply is sent: the more are sent at once, the less of each in one turn."""
    budget = TURN_BYTES
    while budget > LEAST_TURN_BYTES and budget * facts.beside > ALL_TURNS_BYTES:
        budget //= 2
    return Plan(slab=SLAB_BYTES, budget=budget)
