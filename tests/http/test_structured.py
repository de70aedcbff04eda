"""Structured fields: what is malformed is not there, and what is written reads the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import structured

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, None),
        (b"?1", True),
        (b"?0", False),
        (b" ?1;why=x ", True),
        (b"1", None),
        (b"true", None),
        (b"?2", None),
        (b"", None),
        (b"?1, ?1", None),
    ],
)
def test_booleans(value: bytes | None, *, want: bool | None) -> None:
    assert structured.boolean(value) is want


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, None),
        (b"0", 0),
        (b"007", 7),
        (b"-0", 0),
        (b"5;a", 5),
        (b"999999999999999", 999_999_999_999_999),
        (b"1000000000000000", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b"1 1", None),
        (b"?1", None),
        (b'"1"', None),
        (b"\xff", None),
    ],
)
def test_integers(value: bytes | None, want: int | None) -> None:
    assert structured.integer(value) == want


@pytest.mark.parametrize(
    ("value", "members", "integers"),
    [
        (None, None, None),
        (b"", {}, {}),
        (
            b"a=1, b=?1, c, d=1.5, e=-1, f=2;x=y",
            {"a": 1, "b": True, "c": True, "d": 1.5, "e": -1, "f": 2},
            "af",
        ),
        (b"a=1, a=2", {"a": 2}, "a"),  # the last wins (RFC 9651 3.2)
        (b"a=:YQ==:", {"a": b"a"}, ""),
        (b"a=1,", None, None),
        (b"A=1", None, None),
        (b"a=1000000000000000", None, None),
        (b"a=" + b"1" * 600, None, None),
        (b"a=1" + b" " * 600, None, None),
        (b"\xff", None, None),
    ],
)
def test_dictionaries(
    value: bytes | None, members: dict[str, object] | None, integers: Iterable[str] | None
) -> None:
    found = structured.members(value)
    assert found == (None if members is None else pytest.approx(members))
    told = structured.integers(value)
    assert told == (None if integers is None else {name: (members or {})[name] for name in integers})


@given(value=st.binary(max_size=60))
def test_any_bytes_are_a_value_or_none(value: bytes) -> None:
    structured.boolean(value)
    assert (structured.integer(value) or 0) >= 0
    assert all(type(number) is int and number >= 0 for number in (structured.integers(value) or {}).values())


@given(number=st.integers(0, structured.INTEGER_MOST), yes=st.booleans(), digest=st.binary(max_size=64))
def test_what_is_written_reads_the_same(number: int, digest: bytes, *, yes: bool) -> None:
    assert structured.boolean(structured.write(yes).encode()) is yes
    written = structured.write({"a": number, "b": digest}).encode()
    assert structured.members(written) == {"a": number, "b": digest}
