"""From how many bytes on a transfer is looked at: a tenth of a second's, and never for what cannot come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import read_threshold
from hmacfs.policy.read_threshold import AT_ONCE, LEAST_BYTES, MOST_BYTES

MUCH = 1 << 40
NOW = st.one_of(st.just(AT_ONCE), st.integers(LEAST_BYTES, MOST_BYTES))
CAME = st.integers(1, 1 << 30)
SECONDS = st.floats(0, 1e4)
LEFT = st.integers(0, MUCH)


@pytest.mark.parametrize(
    ("now", "came", "seconds", "left", "after"),
    [
        (AT_ONCE, 2_000, 0.002, MUCH, MOST_BYTES),  # 1 MB/s
        (AT_ONCE, 2_000, 0.005, MUCH, 40_000),
        (AT_ONCE, 2_000, 0.01, MUCH, 20_000),
        (AT_ONCE, 1_460, 0.05, MUCH, AT_ONCE),  # 29 KB/s: one packet a look
        (AT_ONCE, 1, 0.0, MUCH, MOST_BYTES),
        (20_000, 20_000, 0.08, MUCH, 20_000),  # a little quicker than before
        (20_000, 20_000, 0.12, MUCH, 20_000),
        (20_000, 20_000, 0.3, MUCH, 6_666),
        (MOST_BYTES, 100, 2.0, MUCH, AT_ONCE),  # roused: it has become slow
        (20_000, 20_000, 0.1, 7_000, 7_000),
        (20_000, 20_000, 0.1, 2_000, AT_ONCE),
        (20_000, 20_000, 0.1, 0, AT_ONCE),
    ],
)
def test_the_next_look(now: int, came: int, seconds: float, left: int, after: int) -> None:
    assert read_threshold.updated(now, came, seconds, received=MUCH, left=left) == after


@given(NOW, CAME, SECONDS, LEFT, LEFT)
def test_it_never_waits_for_what_cannot_come(
    now: int, came: int, seconds: float, received: int, left: int
) -> None:
    after = read_threshold.updated(now, came, seconds, received=received, left=left)
    assert after == AT_ONCE or LEAST_BYTES <= after <= min(left, MOST_BYTES)


@given(CAME, SECONDS, LEFT)
def test_a_new_client_is_waited_for_only_for_as_much_as_it_has_sent(
    came: int, seconds: float, received: int
) -> None:
    assert read_threshold.updated(AT_ONCE, came, seconds, received=received, left=MUCH) <= max(
        received, AT_ONCE
    )


@given(CAME, SECONDS, SECONDS)
def test_a_faster_client_is_never_looked_at_for_less(came: int, one: float, other: float) -> None:
    short, long = sorted((one, other))
    quick, patient = (
        read_threshold.updated(AT_ONCE, came, seconds, received=MUCH, left=MUCH) for seconds in (short, long)
    )
    assert quick >= patient


@given(st.integers(2 * LEAST_BYTES, MOST_BYTES), st.floats(0.6, 1.6))
def test_what_varies_little_changes_nothing(now: int, factor: float) -> None:
    assert (
        read_threshold.updated(now, now, read_threshold.LOOK_EVERY_S * factor, received=MUCH, left=MUCH)
        == now
    )
