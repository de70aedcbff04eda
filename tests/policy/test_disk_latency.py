"""When a disk counts as slow: at once after one very slow write, else on average, and not for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import disk_latency
from hmacfs.policy.disk_latency import ALARM_S, FAST_S, SLOW_S, Disk

TIMES = st.lists(st.floats(0, 10), max_size=200)


def after(*waited_s: float) -> Disk:
    disk = Disk()
    for waited in waited_s:
        disk = disk_latency.updated(disk, waited)
    return disk


@pytest.mark.parametrize(
    ("waited_s", "slow"),
    [
        ((), False),
        ([0.0006] * 1000, False),
        ([ALARM_S], True),
        ([0.0006] * 1000 + [ALARM_S], True),
        ([0.0006] * 1000 + [ALARM_S / 2], False),
        ([1.1 * SLOW_S] * 100, True),
        ([0.9 * SLOW_S] * 100, False),
        ([ALARM_S, 0.0006], True),
        ([ALARM_S] + [0.0006] * 100, False),
        ([ALARM_S] + [(FAST_S + SLOW_S) / 2] * 1000, True),  # in between: as it was
    ],
)
def test_verdicts(waited_s: list[float], slow: bool) -> None:  # noqa: FBT001
    assert after(*waited_s).slow is slow


@given(TIMES)
def test_every_disk_can_recover(waited_s: list[float]) -> None:
    assert not after(*waited_s, *[0.0] * 100).slow


@given(TIMES)
def test_the_average_lies_among_what_was_measured(waited_s: list[float]) -> None:
    assert 0 <= after(*waited_s).smoothed_s <= max([*waited_s, SLOW_S])


@given(st.lists(st.floats(0, FAST_S), max_size=200))
def test_a_fast_disk_is_never_slow(waited_s: list[float]) -> None:
    assert not after(*waited_s).slow
