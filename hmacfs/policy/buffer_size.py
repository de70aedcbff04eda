"""The class of one upload: what its client fills between two looks, followed up and down as it goes.

A look is one turn of the transfer. It ends dry if the socket was emptied, and else because the turn was
used up, which says only that there was more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hmacfs.model import Facts
    from hmacfs.policy.buffer_classes import Classes

# What comes in so much time should fit: as long as a worker with much to do may take until its next look.
LOOK_S: Final = 0.01
# A buffer of which so little is used is too large. Two classes lie between too little and too much, so that
# what varies less than twofold never moves a transfer up and down again.
SLACK: Final = 4
# Looks in a row that must find it too large. One that finds it too small is enough: that costs time, and
# a class too large for a while only memory.
PATIENCE: Final = 8


class Filling(NamedTuple):
    """What is known of one transfer."""

    size: int
    """Its class."""
    slack: int = 0
    """Looks in a row that found the class too large."""


def begin(facts: Facts, classes: Classes, initial: int) -> Filling:
    """Choose the class of a transfer that begins; `initial` bytes if nothing is known of its client."""
    expected = initial if facts.rate is None else facts.rate * LOOK_S
    return Filling(classes.fit(expected if facts.length is None else min(expected, facts.length)))


def updated(filling: Filling, classes: Classes, came: int, *, dry: bool) -> Filling:
    """Return what is known after a look that found `came` bytes."""
    size, slack = filling
    if came >= size:
        return Filling(classes.fit(came if dry else 2 * came))
    if not dry or not came:
        return filling  # it could have been more, or it was no look at all
    if came * SLACK > size or size == classes.least:
        return Filling(size)
    if slack + 1 < PATIENCE:
        return Filling(size, slack + 1)
    return Filling(size // 2)
