"""How a body is received: a slab that it can fill, and a small one if its framing must be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import Facts, KiB, MiB
from hmacfs.policy import buffers


@pytest.mark.parametrize(
    ("length", "slab"),
    [
        (None, 32 * KiB),  # chunked
        (0, 32 * KiB),
        (32 * KiB, 32 * KiB),
        (32 * KiB + 1, 64 * KiB),
        (100 * KiB, 128 * KiB),
        (MiB, MiB),
        (MiB + 1, MiB),
        (1 << 40, MiB),
    ],
)
def test_slab_of_an_upload(length: int | None, slab: int) -> None:
    assert buffers.for_upload(Facts(length=length)).slab == slab


@given(st.integers(0, 1 << 50))
def test_a_slab_is_filled_by_what_comes_and_fits_the_lent_one(length: int) -> None:
    plan = buffers.for_upload(Facts(length=length))
    assert buffers.LEAST_READ_BYTES <= plan.slab <= buffers.READ_BYTES
    assert plan.slab < 2 * max(length, buffers.LEAST_READ_BYTES)
    assert plan.budget >= plan.slab


@pytest.mark.parametrize(
    ("left", "came", "direct"),
    [
        (MiB, 0, True),
        (MiB, 72 * KiB, True),
        (MiB, MiB, False),  # nothing is missing
        (200 * KiB, 72 * KiB, False),  # quick: its first read was full
        (200 * KiB, 1460, True),  # slow: its first read was a packet
        (40 * KiB, 1460, True),
        (30 * KiB, 1460, False),
        (1, 0, False),
        (0, 0, False),
    ],
)
def test_whether_a_body_is_read_without_the_transport(left: int, came: int, *, direct: bool) -> None:
    assert buffers.is_direct(left, came) == direct
