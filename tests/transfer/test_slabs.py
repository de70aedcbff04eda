"""Slabs: lent and counted, kept by class, never more of them than their bound."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hmacfs import transfer
from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes, buffer_memory

if TYPE_CHECKING:
    from hmacfs import _core

CLASSES = buffer_classes.between(32 * KiB, 1 * MiB)


def test_slabs_are_kept_by_class_within_their_bound() -> None:
    lent: list[int] = []
    slabs = transfer.Slabs(buffer_memory.share(4 * MiB, 1, CLASSES), lent.append)
    with slabs.lend(MiB) as first, slabs.lend(512 * KiB) as second:
        assert sum(lent) == first.size + second.size == MiB + 512 * KiB
    assert sum(lent) == 0
    with slabs.lend(MiB) as again:
        assert again is first


@given(st.integers(256 * KiB, 4 * MiB), st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
def test_what_is_lent_never_exceeds_the_share_and_nobody_is_refused(
    limit: int, steps: list[tuple[bool, int]]
) -> None:
    lent: list[int] = []
    share = buffer_memory.share(limit, 1, CLASSES)
    slabs = transfer.Slabs(share, lent.append)
    open_: list[contextlib.ExitStack] = []
    for give, place in steps:
        if open_ and (len(open_) == slabs.holders or not give):
            open_.pop(place % len(open_)).close()
            continue
        holder = contextlib.ExitStack()
        slab: _core.Slab = holder.enter_context(slabs.lend(32 * KiB << place))
        open_.append(holder)
        assert share.least <= slab.size <= 32 * KiB << place
        assert sum(lent) <= share.lent
    for holder in open_:
        holder.close()
    assert sum(lent) == 0
