"""Which slab a transfer reads with and how much it may move in one turn of the loop.

Sizes live here and nowhere else; `transfer` and `_core` only obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.model import KiB, MiB, Plan

if TYPE_CHECKING:
    from hmacfs.model import Facts

# What a connection may read before its request is known: enough for a head and a small upload, which then
# takes one read, one write and one digest: PUT 64 KiB took 205-220 us with 80 or 128 KiB, 235-290 with 32.
# While an upload waits for its file, this much of it may have to be held.
HEAD_BYTES: Final = 72 * KiB
# Where no length tells more, the body is read in pieces of this size.
LEAST_READ_BYTES: Final = 32 * KiB

# What the transport reads in one go, for what the loop does with it has no other bound. A `BodyTransfer`
# reads as much as its class says (`classes`, `filling`).
READ_BYTES: Final = 1 * MiB
# Bodies from here on are worth a `BodyTransfer`, whose set-up takes a few system calls.
DIRECT_FROM_BYTES: Final = 256 * KiB
# From a slow client smaller ones are: over links of 1 MB/s 200 KB took 12 CPU s/GB instead of 24, 60 KB 49
# instead of 59, 30 KB as much.
TRICKLING_FROM_BYTES: Final = 32 * KiB

# One write to a file. The kernel keeps as one block of memory what one call writes, and 32 KiB is the largest
# block of which each core has its own stock, still warm from the last file removed. Larger ones come from
# the common pool: copying then took 0.2 to 1.3 CPU s/GB instead of 0.15 on a virtual machine, whose host may
# have to give that memory back first (a guess). With 64 KiB that was not seen, and half the calls are saved.
WRITE_BYTES: Final = 64 * KiB

# So much is written and digested in one go: what was copied is still in the core's second cache then. With
# 512 KiB 100 MiB took 0.75 CPU s/GB, with all of a slab 0.85.
PIECE_BYTES: Final = 512 * KiB

# What all large transfers together move before other sockets are looked at: less than a millisecond.
ITERATION_BYTES: Final = 1 * MiB
# The same while there is nobody else. An upload whose socket is emptied in one turn keeps its client sending,
# instead of our core on the client's account: 0.74 CPU s/GB with 4 MiB, 0.69 with 8 MiB.
ALONE_BYTES: Final = 8 * MiB

# The most that is held for one transfer while a thread waits for the disk.
MOST_LENT_BYTES: Final = 1 * MiB

# Threads that wait for the disk in the loop's place: as many as a disk's queue gains from. Each works on one
# slab, however many transfers there are, and that is all the memory there is for it.
DISK_THREADS: Final = 4

# Whether a file is in memory is asked for so much of it at once, and only where that may spare a long wait.
# Then the question costs a microsecond for 16 MiB; a cold part is read so far ahead of the part being sent.
WARM_WINDOW_BYTES: Final = 16 * MiB
COLD_FROM_BYTES: Final = 64 * KiB
AHEAD_BYTES: Final = 4 * MiB

# What one reply may send before other connections get their turn. nginx (sendfile_max_chunk)
# uses 2 MiB, h2o caps at 1 MiB: a fast client on loopback would otherwise hold the loop.
TURN_BYTES: Final = 1 * MiB

# What one reply over TLS encrypts in one turn, and what may wait for a client that does not read.
TLS_TURN_BYTES: Final = 128 * KiB

# What all replies together should send in one turn of the loop: about 2 ms of copying, the longest that
# a small request should wait behind downloads under way.
ALL_TURNS_BYTES: Final = 4 * MiB
LEAST_TURN_BYTES: Final = 64 * KiB


def for_upload(facts: Facts) -> Plan:
    """Choose how a body is received: never a larger slab than the body can fill.

    A body without a length is chunked, and its framing is read byte by byte: 1 MiB of one-byte chunks
    took 1.1 s, in which nobody else was served. So it is read in small pieces, 35 ms at worst.
    """
    slab, least = READ_BYTES, max(facts.length or 0, LEAST_READ_BYTES)
    while slab // 2 >= least:
        slab //= 2
    return Plan(slab=slab, budget=TURN_BYTES)


def is_direct(left: int, came: int) -> bool:
    """Whether a body of `left` bytes, `came` of them here, is read from the socket without the transport.

    A client whose first packets brought little sends slowly, and the transport would look at each packet.
    """
    missing = left - came
    trickles = came < HEAD_BYTES // 2 and missing > TRICKLING_FROM_BYTES
    return missing > 0 and (left > DIRECT_FROM_BYTES or trickles)


def for_iteration(movers: int, connections: int) -> int:
    """Return what `movers` large transfers, among so many connections, may move in one iteration."""
    return ALONE_BYTES if movers >= connections else ITERATION_BYTES


def for_download(facts: Facts) -> Plan:
    """Choose how a reply is sent: the more are sent at once, the less of each in one turn."""
    budget = TURN_BYTES
    while budget > LEAST_TURN_BYTES and budget * facts.beside > ALL_TURNS_BYTES:
        budget //= 2
    return Plan(slab=READ_BYTES, budget=budget)
