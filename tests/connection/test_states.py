"""The table of a connection's life: what it promises whatever the code around it does."""

from __future__ import annotations

import pytest

from hmacfs.connection.states import TRANSITIONS, Event, Phase


def reachable(start: Phase) -> set[Phase]:
    found = {start}
    while more := {after for phase in found for after in TRANSITIONS[phase].values()} - found:
        found |= more
    return found


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_lived_through_and_can_be_ended(phase: Phase) -> None:
    assert phase in reachable(Phase.HEAD)
    assert TRANSITIONS[phase][Event.CLOSED] is Phase.CLOSED


@pytest.mark.parametrize("phase", [Phase.LINGER, Phase.CLOSED])
def test_no_request_is_read_after_the_last_reply(phase: Phase) -> None:
    assert reachable(phase) <= {Phase.LINGER, Phase.CLOSED}


def test_a_head_is_looked_for_only_once_a_reply_is_out() -> None:
    ways = {
        (phase, event)
        for phase in Phase
        for event, after in TRANSITIONS[phase].items()
        if after is Phase.HEAD
    }
    assert ways == {(Phase.ANSWER, Event.SENT)}


def test_a_body_flows_only_while_its_request_is_answered() -> None:
    ways = {
        (phase, event)
        for phase in Phase
        for event, after in TRANSITIONS[phase].items()
        if after is Phase.BODY
    }
    assert ways == {(Phase.ANSWER, Event.BODY_WANTED)}
    assert set(TRANSITIONS[Phase.BODY].values()) == {Phase.ANSWER, Phase.CLOSED}


def test_every_event_happens_somewhere() -> None:
    assert {event for phase in Phase for event in TRANSITIONS[phase]} == set(Event)
