"""From how many bytes on a transfer is looked at: the rate and what is left in, a number for SO_RCVLOWAT out.

A slow client's bytes come in packets of a few hundred to a few thousand, and looking at each costs more than
storing it. The kernel can wait until several have come (socket(7)); what has come last is never waited for.
"""

from __future__ import annotations

from typing import Final

from hmacfs.model import KiB

# What comes in so much time is looked at once. A client notices nothing, since the kernel acknowledges what
# it has received whether or not anybody has read it.
LOOK_EVERY_S: Final = 0.1
# What waits unread must not keep a client from sending. Linux offers a window of 64 KiB at first, and later
# of more than twice what was read at once (tcp(7), tcp_rmem and tcp_moderate_rcvbuf): so no more is waited
# for than has come before. 8 uploads of 1 MB/s took 25 CPU s/GB when each packet was looked at, 7.4 with
# 32 KiB, 5.7 with 64 KiB and 4.7 with 128 KiB; but what waits is memory of the kernel's.
MOST_BYTES: Final = 64 * KiB
# Two packets: to wait for less saves nothing.
LEAST_BYTES: Final = 3 * KiB
# By what factor the rate must have changed until the kernel is told: it varies from look to look.
CHANGE: Final = 2

AT_ONCE: Final = 1
"""Any byte is a reason to look."""


def updated(now: int, came: int, seconds: float, *, received: int, left: int) -> int:
    """Return from how many bytes on to look next; `now` is what it was.

    `came` bytes, at least 1, are what a look found that ended dry, `seconds` after the one before. `received`
    are all that have come so far, `left` those that the transfer still lacks.
    """
    most = min(MOST_BYTES, received)
    wanted = most if came * LOOK_EVERY_S >= most * seconds else int(came / seconds * LOOK_EVERY_S)
    if now * CHANGE > wanted > now // CHANGE:
        wanted = now
    wanted = min(wanted, left)
    return wanted if wanted >= LEAST_BYTES else AT_ONCE
