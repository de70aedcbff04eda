"""How long to wait before what failed is tried again, where it may pass by itself.

Full jitter: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RETRIES: Final = 5
# 15, 30, 60, 120 and 240 ms at most. An upload has two steps that may be tried again, its beginning and
# its name: together that is less than a second.
FIRST_S: Final = 0.015
# As long in all, on average, where the waits are all the same.
STEADY_S: Final = 0.045


def delays(chance: Callable[[], float], *, exponential: bool) -> Iterator[float]:
    """Return the seconds to wait before each retry, and no more when to give up.

    `chance` gives numbers in [0, 1), one for each wait.
    """
    if exponential:
        yield from growing(chance, first_s=FIRST_S, most_s=math.inf, retries=RETRIES)
    else:
        yield from itertools.repeat(STEADY_S, RETRIES)


def growing(chance: Callable[[], float], *, first_s: float, most_s: float, retries: int) -> Iterator[float]:
    """Return a share that `chance` chooses of bounds that begin with `first_s` and double up to `most_s`."""
    for attempt in range(retries):
        yield chance() * min(first_s * 2**attempt, most_s)
