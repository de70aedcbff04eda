"""Classes: powers of two between two bounds, of which the smallest that fits is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.metrics import catalogue
from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes

SIZES = st.integers(0, 1 << 40)


@pytest.mark.parametrize(
    ("least", "most", "each"),
    [
        (32 * KiB, 256 * KiB, (32, 64, 128, 256)),
        (40 * KiB, 100 * KiB, (32, 64)),  # rounded down
        (64 * KiB, 64 * KiB, (64,)),
        (64 * KiB, 16 * KiB, (64,)),
        (1, 16 * KiB, (16,)),
        (8 * MiB, 1 << 50, (8 * KiB, 16 * KiB)),
    ],
)
def test_each_class_is_twice_the_one_before(least: int, most: int, each: tuple[int, ...]) -> None:
    assert buffer_classes.between(least, most).each() == tuple(size * KiB for size in each)


def test_without_adaptation_there_is_one() -> None:
    assert buffer_classes.between(32 * KiB, 4 * MiB, adaptive=False).each() == (32 * KiB,)


@given(SIZES, SIZES, SIZES, SIZES)
def test_a_class_is_never_outside_its_bounds_and_never_smaller_for_more(
    least: int, most: int, small: int, large: int
) -> None:
    sizes = buffer_classes.between(least, most)
    small, large = sorted((small, large))
    assert sizes.least <= sizes.fit(small) <= sizes.fit(large) <= sizes.most
    assert sizes.fit(large) in sizes.each()
    assert sizes.fit(large) >= min(large, sizes.most)


def test_every_class_has_its_columns() -> None:
    assert buffer_classes.between(0, 1 << 50).each() == catalogue.BUFFER_CLASSES
