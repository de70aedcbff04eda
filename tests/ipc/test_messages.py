"""Letters: what is written is read, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.ipc import messages
from hmacfs.ipc.messages import Message, MessageKind, Offer

NUMBERS = st.integers(0, 2**63 - 1)
OFFERS = st.builds(Offer, NUMBERS, NUMBERS, st.text(), st.none() | st.text())
LETTERS = st.builds(
    Message,
    kind=st.sampled_from(MessageKind),
    sender=NUMBERS,
    number=NUMBERS,
    key=st.text(),
    ticket=NUMBERS,
    offers=st.lists(OFFERS, max_size=3).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.sampled_from(MessageKind),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(LETTERS)
def test_what_is_written_is_read(message: Message) -> None:
    assert messages.read(messages.write(message)) == message


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_no_letter_or_a_sound_one(data: bytes) -> None:
    message = messages.read(data)
    assert message is None or messages.read(messages.write(message)) == message


@pytest.mark.parametrize(
    "values",
    [
        ["ask", 0, 1, "k", 0],
        ["ask", 0, 1, "k", 0, [], 1],
        ["tell", 0, 1, "k", 0, []],
        ["ask", "0", 1, "k", 0, []],
        ["ask", 0, 1.5, "k", 0, []],
        ["ask", True, 1, "k", 0, []],
        ["ask", 0, 1, 5, 0, []],
        ["ask", 0, 1, "k", None, []],
        ["ask", 0, 1, "k", 0, None],
        ["offer", 0, 1, "k", 0, [[1, 2, "o"]]],
        ["offer", 0, 1, "k", 0, [[1, 2, 3, None]]],
        ["offer", 0, 1, "k", 0, [[1, 2, "o", 4]]],
        ["offer", 0, 1, "k", 0, [["1", 2, "o", None]]],
    ],
)
def test_a_letter_of_another_shape_is_none(values: list[object]) -> None:
    assert messages.read(json.dumps(values).encode()) is None


def test_neither_is_what_was_cut_off() -> None:
    data = messages.write(Message(kind=MessageKind.ASK, sender=1, number=2, key="k"))
    assert all(messages.read(data[:stop]) is None for stop in range(len(data)))
    assert messages.read(b"[" * 100_000) is None
