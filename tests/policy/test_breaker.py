"""What keeps failing is left alone, ever longer, until one that was let through succeeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.policy import breaker
from hmacfs.policy.breaker import Breaker

NOW = 1000.0
SPREAD_S = 0.1  # between two outcomes, so that each counts


def after(outcomes: str, *, spread_s: float = SPREAD_S, chance: float = 1.0) -> tuple[Breaker, float]:
    """Return a breaker that has seen these outcomes, "x" for a fault, and the time of the last."""
    rule, now = Breaker(), NOW
    for outcome in outcomes:
        now += spread_s
        if outcome == "x":
            rule.fail(now, chance)
        else:
            rule.succeed(now)
    return rule, now


def opened() -> tuple[Breaker, float]:
    return after("x" * breaker.IN_A_ROW)


@pytest.mark.parametrize(
    ("outcomes", "spread_s", "closed"),
    [
        ("", SPREAD_S, True),
        ("x", SPREAD_S, True),
        ("xxxx", SPREAD_S, True),
        ("xxxxx", SPREAD_S, False),
        ("xxxxx", 100.0, False),  # nothing came between, however long it took
        ("xxxx.xxxx", SPREAD_S, True),
        ("xxxx.x", 100.0, True),
        ("xx." * 6 + "x", SPREAD_S, True),
        ("xx." * 6 + "xx", SPREAD_S, False),  # most of 20
        ("x.." * 30, SPREAD_S, True),  # a third
        ("x.." * 30 + "xxxx", SPREAD_S, True),
        ("xx." * 30, 1.0, True),  # never so many in one window
        ("x" * 100, 0.0, True),  # a batch that failed together
        ("x" * 80, 0.001, True),
        ("x" * 105, 0.001, False),
    ],
)
def test_what_opens_it(outcomes: str, spread_s: float, closed: bool) -> None:  # noqa: FBT001 - a table
    rule, now = after(outcomes, spread_s=spread_s)
    assert rule.closed is closed
    assert rule.admit(now) is closed


def test_it_is_at_rest_until_a_fault_and_again_a_window_later() -> None:
    rule, now = after("....")
    assert rule.at_rest
    rule.fail(now, 0.5)
    assert not rule.at_rest
    rule.succeed(now + breaker.WINDOW_S - 0.01)
    assert not rule.at_rest
    rule.succeed(now + breaker.WINDOW_S + 0.01)
    assert rule.at_rest


@pytest.mark.parametrize(("chance", "pause_s"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_first_pause(chance: float, pause_s: float) -> None:
    rule, now = after("x" * breaker.IN_A_ROW, chance=chance)
    assert rule.wait_s(now) == pytest.approx(pause_s)
    assert rule.is_open(now + pause_s - 0.001)
    assert not rule.is_open(now + pause_s + 0.001)
    assert not rule.admit(now + pause_s - 0.001)
    assert rule.admit(now + pause_s + 0.001)


def test_one_probe_at_a_time() -> None:
    rule, now = opened()
    now += breaker.FIRST_PAUSE_S
    assert rule.admit(now)
    assert not rule.admit(now)
    assert not rule.admit(now + breaker.PROBE_S - 0.01)
    assert rule.admit(now + breaker.PROBE_S + 0.01)  # the first has said nothing


def test_a_probe_that_succeeds_closes_it() -> None:
    rule, now = opened()
    now += breaker.FIRST_PAUSE_S
    assert rule.admit(now)
    rule.succeed(now + 1)
    assert rule.closed
    assert rule.at_rest
    assert rule.admit(now + 1)
    assert rule.admit(now + 1)


def test_the_pause_doubles_up_to_its_bound_and_begins_anew_once_it_was_closed() -> None:
    rule, now = opened()
    pauses_s = []
    for _ in range(8):
        now += rule.wait_s(now)
        assert rule.admit(now)
        rule.fail(now, 1.0)
        pauses_s.append(rule.wait_s(now))
    assert pauses_s == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])
    now += 60
    assert rule.admit(now)
    rule.succeed(now)
    for _ in range(breaker.IN_A_ROW):
        now += SPREAD_S
        rule.fail(now, 1.0)
    assert rule.wait_s(now) == pytest.approx(breaker.FIRST_PAUSE_S)


def test_those_who_began_before_it_opened_change_nothing() -> None:
    rule, now = opened()
    rule.fail(now + 0.5, 1.0)
    rule.succeed(now + 0.5)
    assert not rule.closed
    assert rule.wait_s(now) == pytest.approx(breaker.FIRST_PAUSE_S)


def test_a_batch_of_probes_fails_once() -> None:
    rule, now = opened()
    now += breaker.FIRST_PAUSE_S
    assert rule.admit(now)
    for _ in range(10):
        rule.fail(now, 1.0)
    assert rule.wait_s(now) == pytest.approx(2 * breaker.FIRST_PAUSE_S)


EVENT = st.tuples(st.sampled_from(["admit", "succeed", "fail"]), st.floats(0.0, 20.0), st.floats(0.0, 1.0))


@given(st.lists(EVENT, max_size=200))
def test_whatever_happens_it_admits_again_within_its_bounds(
    events: list[tuple[str, float, float]],
) -> None:
    rule, now = Breaker(), NOW
    for name, passed_s, chance in events:
        now += passed_s
        if name == "admit":
            was_open = rule.is_open(now)
            assert rule.admit(now) is not was_open
        elif name == "succeed":
            rule.succeed(now)
        else:
            rule.fail(now, chance)
        assert 0.0 <= rule.wait_s(now) <= max(breaker.LONGEST_PAUSE_S, breaker.PROBE_S)
        assert rule.is_open(now) is (rule.wait_s(now) > 0)
        assert not (rule.closed and rule.is_open(now))
        assert rule.closed or not rule.at_rest


@given(st.lists(st.floats(0.0, 20.0), max_size=100))
def test_without_a_fault_it_stays_closed(waits: list[float]) -> None:
    rule, now = Breaker(), NOW
    for passed_s in waits:
        now += passed_s
        assert rule.admit(now)
        rule.succeed(now)
        assert rule.at_rest
