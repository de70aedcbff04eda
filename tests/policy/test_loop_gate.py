"""Where work on the storage is done: on the loop while that is quick, by threads for a while after a wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import MiB
from hmacfs.policy import loop_gate

MS = 0.001


@pytest.mark.parametrize(
    ("waits", "pause_s"),
    [
        ([], 0.0),
        ([0.1 * MS] * 100, 0.0),
        ([1 * MS] * 10, 0.0),
        ([2.9 * MS] * 3, 0.0),
        ([2.9 * MS] * 5, 0.04),
        ([5 * MS], 0.05),
        ([1.0], 10.0),
        ([1.0, 1.0], 30.0),  # still slow: twice as long
        ([1.0, 1.0, 1.0], 70.0),
        ([100.0], 60.0),
    ],
)
def test_the_pause_after_waits_at_one_moment(waits: list[float], pause_s: float) -> None:
    rule = loop_gate.Pace()
    for waited_s in waits:
        rule.note(1000.0, waited_s)
    assert rule.on_loop(1000.0 + pause_s + 0.001, 0)
    assert pause_s == 0.0 or not rule.on_loop(1000.0 + pause_s - 0.001, 0)


@pytest.mark.parametrize(("length", "want"), [(0, True), (MiB, True), (MiB + 1, False)])
def test_only_small_uploads_are_for_the_loop(length: int, want: bool) -> None:  # noqa: FBT001 - a table
    assert loop_gate.Pace().on_loop(0.0, length) is want


def test_one_long_wait_now_and_then_is_no_slow_storage() -> None:
    rule = loop_gate.Pace()
    now = 0.0
    for _ in range(10):
        rule.note(now, 10 * MS)
        assert not rule.on_loop(now + 0.099, 0)
        for _ in range(loop_gate.STEADY_STEPS):
            assert rule.on_loop(now + 0.101, 0)
        now += 0.2


@given(
    waits=st.lists(st.floats(0.0, 5.0) | st.floats(0.0, 2 * loop_gate.LONG_S), min_size=1, max_size=200),
    idle=st.floats(0.0, 0.01),
)
def test_waiting_takes_a_small_part_of_the_loops_time(waits: list[float], idle: float) -> None:
    """Work goes on as soon as it may: a long wait is followed by ten times as much without any."""
    rule = loop_gate.Pace()
    now = 0.0
    for at, waited_s in enumerate(waits):
        now += waited_s
        rule.note(now, waited_s)
        if waited_s >= loop_gate.LONG_S and at:
            assert not rule.on_loop(now, 0)
            assert not rule.on_loop(now + min(0.99 * loop_gate.FIRST_FACTOR * waited_s, 59.0), 0)
        while not rule.on_loop(now, 0):
            now += max(idle, 0.001)


@given(st.floats(loop_gate.LONG_S, 10.0), st.integers(2, 20))
def test_a_storage_that_stays_slow_is_left_alone_ever_longer(waited_s: float, times: int) -> None:
    rule = loop_gate.Pace()
    now, paused_s = 0.0, 0.0
    for _ in range(times):
        now += waited_s
        rule.note(now, waited_s)
        before, paused_s = paused_s, 0.0
        while not rule.on_loop(now, 0):
            now += waited_s
            paused_s += waited_s
        assert paused_s >= min(1.5 * before, loop_gate.LONGEST_PAUSE_S - waited_s)
        assert paused_s <= loop_gate.LONGEST_PAUSE_S + 2 * waited_s
