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
# What waits unread must not keep a client from sending. Linux offers a window of 64 KiB at first (tcp(7),
# tcp_rmem), later of twice what is under way on the line. This and what is under way fit into either.
MOST_BYTES: Final = 32 * KiB
# Two packets: to wait for less saves nothing.
LEAST_BYTES: Final = 3 * KiB
# By what factor the rate must have changed until the kernel is told: it varies from look to look.
CHANGE: Final = 2

AT_ONCE: Final = 1
"""Any byte is a reason to look."""


def after(now: int, came: int, seconds: float, left: int) -> int:
    """Give from how many bytes on to look next; `now` is what it was.

    `came` bytes, at least 1, are what a look found that ended dry, `seconds` after the one before; `left` are
    those that the transfer still lacks.
    """
    wanted = MOST_BYTES if came * LOOK_EVERY_S >= MOST_BYTES * seconds else int(came / seconds * LOOK_EVERY_S)
    if now * CHANGE > wanted > now // CHANGE:
        wanted = now
    wanted = min(wanted, left)
    return wanted if wanted >= LEAST_BYTES else AT_ONCE
