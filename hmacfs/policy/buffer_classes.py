"""The sizes that a buffer may have: powers of two between two bounds. One size is a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hmacfs.model import BUFFER_CLASSES

LEAST_BYTES: Final = BUFFER_CLASSES[0]
MOST_BYTES: Final = BUFFER_CLASSES[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The classes of one site; `between` makes it."""

    least: int
    """The smallest, a power of two."""
    most: int
    """The largest, a power of two; equal to the smallest where nothing is to be chosen."""

    def fit(self, size: float) -> int:
        """Return the smallest class that holds `size` bytes, or the largest there is."""
        found = self.least
        while found < size and found < self.most:
            found *= 2
        return found

    def each(self) -> tuple[int, ...]:
        """Return all of them, rising."""
        return tuple(self.least << step for step in range((self.most // self.least).bit_length()))


def between(least: int, most: int, *, adaptive: bool = True) -> Classes:
    """Return the classes between two sizes, both rounded as by `floor`; one only if not `adaptive`."""
    smallest = floor(least)
    return Classes(least=smallest, most=max(smallest, floor(most)) if adaptive else smallest)


def floor(size: int) -> int:
    """Return the largest power of two that is not above `size`, which is kept within what classes may be."""
    return 1 << (max(LEAST_BYTES, min(size, MOST_BYTES)).bit_length() - 1)
