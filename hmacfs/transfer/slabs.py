"""The memory of transfers that must hold bytes: slabs by class, lent by `with`, counted and bounded.

Whoever reads and writes in one turn of the loop needs none of these: `Scheduler` has one slab for all.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from hmacfs import _core
from hmacfs.policy import buffer_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hmacfs.policy.buffer_memory import Share


class Slabs:
    """One worker's slabs; each is made when first needed, and kept."""

    def __init__(self, share: Share, counted: Callable[[int], None]) -> None:
        """Make as many as `share` allows; `counted` is told of bytes lent, and returned (negative)."""
        self._share = share
        self._counted = counted
        self._made = 0  # bytes lent and kept
        self._lent = 0  # bytes
        self._holders = 0
        self._kept: defaultdict[int, list[_core.Slab]] = defaultdict(list)

    @property
    def holders(self) -> int:
        """How many slabs may be lent at once."""
        return self._share.threads

    @contextlib.contextmanager
    def lend(self, want: int) -> Iterator[_core.Slab]:
        """Lend a slab of the class `want`, or of a smaller one if memory is short; at most to `holders`."""
        share = self._share
        others = share.threads - self._holders - 1
        size = buffer_memory.to_lend(want, share.lent - self._lent, others, share.least)
        slab = self._kept[size].pop() if self._kept[size] else self._make(size)
        self._count(1, size)
        try:
            yield slab
        finally:
            self._count(-1, -size)
            slab.spoil()  # a view that outlived the lending shows what it is
            self._kept[size].append(slab)

    def _count(self, holders: int, size: int) -> None:
        self._holders += holders
        self._lent += size
        self._counted(size)

    def _make(self, size: int) -> _core.Slab:
        """Make a slab, in the place of kept ones of other classes if need be."""
        for kept in self._kept.values():
            while kept and self._made + size > self._share.lent:
                self._made -= kept.pop().size
        slab = _core.Slab(size)
        self._made += size
        return slab
