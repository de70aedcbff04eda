"""Slabs: lent and counted, kept by class, never more of them than their bound."""

from __future__ import annotations

import pytest

from hmacfs import transfer
from hmacfs.model import KiB, MiB


def test_slabs_are_kept_by_class_within_their_bound() -> None:
    lent: list[int] = []
    slabs = transfer.Slabs(2 * MiB, lent.append)
    with slabs.lend(MiB) as first, slabs.lend(512 * KiB) as second:
        with pytest.raises(MemoryError), slabs.lend(MiB):
            pass
        assert sum(lent) == first.size + second.size
    assert sum(lent) == 0
    with slabs.lend(MiB) as again:
        assert again is first
    with slabs.lend(2 * MiB) as whole:  # in the place of those that are kept
        assert whole.size == 2 * MiB
