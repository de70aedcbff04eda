"""Memory for buffers: divided, lent and never exceeded; the last thread still finds some."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes, buffer_memory
from hmacfs.policy.buffers import DISK_THREADS, HEAD_BYTES, MOST_LENT_BYTES

LIMITS = st.integers(1 * MiB, 1 << 34)
WORKERS = st.integers(1, 1024)
BOUNDS = st.integers(14, 24)
HOLDERS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 24)), max_size=60)


@given(LIMITS, WORKERS, BOUNDS, BOUNDS)
def test_workers_together_stay_within_the_limit(limit: int, workers: int, least: int, most: int) -> None:
    share = buffer_memory.share(limit, workers, buffer_classes.between(1 << least, 1 << most))
    assert share.slab + share.lent <= max(limit // workers, buffer_memory.LEAST_SHARE_BYTES)
    assert share.slab >= max(share.classes.most, HEAD_BYTES)
    assert 1 <= share.threads <= DISK_THREADS
    assert share.threads * share.least <= share.lent
    assert share.lent <= DISK_THREADS * MOST_LENT_BYTES


def test_with_plenty_nothing_is_smaller_than_asked_for() -> None:
    wanted = buffer_classes.between(32 * KiB, 4 * MiB)
    share = buffer_memory.share(256 * MiB, 2, wanted)
    assert share == buffer_memory.Share(slab=4 * MiB, lent=4 * MiB, least=32 * KiB, threads=4, classes=wanted)


def test_with_little_the_largest_are_given_up_first() -> None:
    share = buffer_memory.share(1 * MiB, 1, buffer_classes.between(32 * KiB, 4 * MiB))
    assert share.classes == buffer_classes.between(32 * KiB, 512 * KiB)
    assert share.slab + share.lent == 1 * MiB


@given(LIMITS, WORKERS, BOUNDS, HOLDERS)
def test_lending_neither_fails_nor_exceeds_the_share(
    limit: int, workers: int, least: int, holders: list[tuple[int, int]]
) -> None:
    """Slabs are lent and returned in any order, at most one to each thread."""
    share = buffer_memory.share(limit, workers, buffer_classes.between(1 << least, 4 * MiB))
    lent: list[int] = []
    for place, want in holders:
        if len(lent) == share.threads or (lent and place % 2):
            lent.pop(place % len(lent))
            continue
        others = share.threads - len(lent) - 1
        size = buffer_memory.to_lend(1 << want, share.lent - sum(lent), others, share.least)
        assert share.least <= size <= max(1 << want, share.least)
        lent.append(size)
        assert sum(lent) <= share.lent
