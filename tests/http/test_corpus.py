"""Every row of the corpus through the pure front, whole and byte by byte."""

from __future__ import annotations

import pytest
from corpus import CANARY, ROWS, Row
from corpus.reader import Accepted, Rejected, read, single_bytes

NAMES = {"host": b"files.example.org:8080", "file": b"/upload/u/f.txt", "place": b"/upload/u/new.txt?v=00"}


def wire(row: Row) -> bytes:
    return row.render(**NAMES) + Row(
        id="canary", wire=CANARY, statuses=frozenset(), sound=True, close=None
    ).render(**NAMES)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if not row.sound])
def test_a_bad_request_is_refused(row: Row) -> None:
    whole = read([wire(row)])
    first = whole.seen[0]
    assert isinstance(first, Rejected)
    assert first.status in row.statuses
    if row.close:
        assert first.close
        assert len(whole.seen) == 1
    parts = read(single_bytes(wire(row)))
    again = parts.seen[0]
    assert isinstance(again, Rejected)
    assert (again.status, again.close) == (first.status, first.close)
    assert len(parts.seen) == len(whole.seen)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.sound])
def test_a_sound_request_is_accepted(row: Row) -> None:
    whole = read([wire(row)])
    assert all(isinstance(one, Accepted) for one in whole.seen)
    assert whole.closed is (row.close is True)
    if row.close is True:
        assert len(whole.seen) == row.answers
    else:
        canary = whole.seen[-1]
        assert len(whole.seen) == row.answers + 1
        assert isinstance(canary, Accepted)
        assert canary.head.fields[b"x-canary"] == b"1"
    assert read(single_bytes(wire(row))).seen == whole.seen


def test_the_corpus_is_as_large_as_promised() -> None:
    bad = sum(not row.sound for row in ROWS)
    assert bad >= 177
    assert len(ROWS) >= 261
    assert len({row.id for row in ROWS}) == len(ROWS)
