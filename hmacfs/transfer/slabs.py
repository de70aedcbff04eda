"""The memory of transfers that must hold bytes: slabs by class, lent by `with`, counted and bounded.

Whoever reads and writes in one turn of the loop needs none of these: `Turns` has one slab for all.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from hmacfs import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Slabs:
    """One worker's slabs; each is made when first needed, and kept."""

    def __init__(self, limit: int, counted: Callable[[int], None]) -> None:
        """Make at most `limit` bytes of them; `counted` is told of bytes lent, and returned (negative)."""
        self._limit = limit
        self._counted = counted
        self._made = 0  # bytes lent and kept
        self._kept: defaultdict[int, list[_core.Slab]] = defaultdict(list)

    @contextlib.contextmanager
    def lend(self, size: int) -> Iterator[_core.Slab]:
        """Lend a slab of that class. Raises MemoryError beyond the limit."""
        slab = self._kept[size].pop() if self._kept[size] else self._make(size)
        self._counted(size)
        try:
            yield slab
        finally:
            self._counted(-size)
            self._kept[size].append(slab)

    def _make(self, size: int) -> _core.Slab:
        """Make a slab, in the place of kept ones of other classes if need be."""
        for kept in self._kept.values():
            while kept and self._made + size > self._limit:
                self._made -= kept.pop().size
        if self._made + size > self._limit:
            raise MemoryError
        slab = _core.Slab(size)
        self._made += size
        return slab
