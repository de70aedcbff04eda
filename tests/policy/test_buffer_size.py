"""The class of a running upload: up as soon as its client fills it, down only when that is plain."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import Facts, KiB, MiB
from hmacfs.policy import buffer_classes, buffer_size
from hmacfs.policy.buffer_size import PATIENCE, Filling

CLASSES = buffer_classes.between(32 * KiB, 4 * MiB)
INITIAL = 1 * MiB
RATES = st.floats(0, 1e12)
LOOKS = st.lists(st.tuples(st.integers(0, 16 * MiB), st.booleans()), max_size=60)


@pytest.mark.parametrize(
    ("length", "rate", "size"),
    [
        (1 << 40, None, MiB),  # nobody has come yet
        (100 * KiB, None, 128 * KiB),
        (None, None, MiB),
        (1 << 40, 100e3, 32 * KiB),
        (1 << 40, 12.5e6, 128 * KiB),  # 100 Mbit/s
        (1 << 40, 125e6, 2 * MiB),  # 1 Gbit/s
        (1 << 40, 5e9, 4 * MiB),
        (MiB, 5e9, MiB),
        (1 << 40, 0.0, 32 * KiB),
    ],
)
def test_the_class_to_begin_with(length: int | None, rate: float | None, size: int) -> None:
    assert buffer_size.begin(Facts(length=length, rate=rate), CLASSES, INITIAL) == Filling(size)


@given(st.integers(0, 1 << 40), RATES, RATES)
def test_a_faster_client_never_begins_with_less(length: int, slow: float, fast: float) -> None:
    slow, fast = sorted((slow, fast))
    begun = [
        buffer_size.begin(Facts(length=length, rate=rate), CLASSES, INITIAL).size for rate in (slow, fast)
    ]
    assert CLASSES.least <= begun[0] <= begun[1] <= CLASSES.most


@pytest.mark.parametrize(
    ("before", "came", "dry", "after"),
    [
        (Filling(64 * KiB), 300 * KiB, True, Filling(512 * KiB)),
        (Filling(64 * KiB), 300 * KiB, False, Filling(MiB)),  # there was more
        (Filling(64 * KiB), 64 * KiB, True, Filling(64 * KiB)),
        (Filling(64 * KiB), 64 * KiB, False, Filling(128 * KiB)),
        (Filling(4 * MiB), 8 * MiB, False, Filling(4 * MiB)),
        (Filling(64 * KiB, 3), 64 * KiB, True, Filling(64 * KiB)),
        (Filling(64 * KiB, 3), 17 * KiB, True, Filling(64 * KiB)),  # more than a quarter
        (Filling(64 * KiB, 3), 16 * KiB, True, Filling(64 * KiB, 4)),
        (Filling(64 * KiB, PATIENCE - 1), 16 * KiB, True, Filling(32 * KiB)),
        (Filling(32 * KiB, 0), 1, True, Filling(32 * KiB)),  # there is none below
        (Filling(64 * KiB, 3), 1, False, Filling(64 * KiB, 3)),  # the turn was short
        (Filling(64 * KiB, 3), 0, True, Filling(64 * KiB, 3)),  # nothing was there: no look
    ],
)
def test_a_look(before: Filling, came: int, dry: bool, after: Filling) -> None:  # noqa: FBT001 - a table
    assert buffer_size.updated(before, CLASSES, came, dry=dry) == after


@given(LOOKS)
def test_whatever_comes_it_is_a_class(looks: list[tuple[int, bool]]) -> None:
    now = Filling(INITIAL)
    for came, dry in looks:
        now = buffer_size.updated(now, CLASSES, came, dry=dry)
        assert now.size in CLASSES.each()
        assert 0 <= now.slack < PATIENCE


@given(st.integers(1, 8 * MiB), st.lists(st.floats(0.67, 1.33), min_size=200, max_size=200))
def test_a_steady_client_is_followed_and_never_to_and_back(typical: int, drift: list[float]) -> None:
    """What comes varies by two thirds to four thirds: its class goes up or down, and never both."""
    now = Filling(INITIAL)
    seen = [now.size]
    for share in drift:
        now = buffer_size.updated(now, CLASSES, max(int(typical * share), 1), dry=True)
        seen.append(now.size)
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert not (min(steps) < 0 < max(steps))
    assert now.size >= min(typical * 0.67, CLASSES.most)
    assert now.size <= max(8 * typical, CLASSES.least)


@given(st.integers(1, 8 * MiB), st.integers(1, 8 * MiB))
def test_a_faster_client_never_ends_with_less(slow: int, fast: int) -> None:
    ends = []
    for came in sorted((slow, fast)):
        now = Filling(INITIAL)
        for _ in range(100):
            now = buffer_size.updated(now, CLASSES, came, dry=True)
        ends.append(now.size)
    assert ends[0] <= ends[1]
