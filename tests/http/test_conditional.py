"""Validators and preconditions of RFC 9110 8.8 and 13."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import conditional
from hmacfs.http.conditional import Verdict
from hmacfs.model import Head

MTIME_NS = 784_111_777_250_000_000
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = b"Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = b"Sun, 06 Nov 1994 08:49:38 GMT"
ETAG = conditional.etag(10, MTIME_NS)
TAG = ETAG.encode()
SEND, NOT_MODIFIED, FAILED = Verdict


def request(method: str = "GET", /, **fields: bytes) -> Head:
    return Head(
        method=method,
        target=b"/",
        path="/",
        query="",
        http10=False,
        keep_alive=True,
        fields={name.replace("_", "-").encode(): value for name, value in fields.items()},
        length=None,
        chunked=False,
        expect_continue=False,
    )


def test_etag_is_strong_quoted_and_of_size_and_time() -> None:
    assert ETAG.startswith('"')
    assert ETAG.endswith('"')
    assert len({conditional.etag(size, time) for size in (1, 16) for time in (1, 16)}) == 4


@pytest.mark.parametrize(
    ("mtime_ns", "want"),
    [
        (MTIME_NS, DATE.decode()),
        (784_111_777_999_999_999, DATE.decode()),  # rounded down
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (10**30, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_last_modified(mtime_ns: int, want: str) -> None:
    assert conditional.last_modified(mtime_ns) == want


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (DATE, 784_111_777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        (b"Sun Nov  6 08:49:37 1994", 784_111_777),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", 784_111_777),
        (b"Wednesday, 01-Jan-20 00:00:00 GMT", 1_577_836_800),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_799),
        (b"Sun, 30 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 25:49:37 GMT", None),
        (b"Sun, 06 Nox 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:37 +0200", None),
        (b"Sun, 06 Nov 1994 08:49:37", None),
        (DATE + b", " + DATE, None),
        (b"784111777", None),
        (b"yesterday", None),
        (b"", None),
    ],
)
def test_dates_in_three_forms(value: bytes, want: int | None) -> None:
    assert conditional.parse_date(value) == want


@given(seconds=st.integers(0, 253_402_300_799))
def test_every_date_given_out_is_read_back(seconds: int) -> None:
    assert conditional.parse_date(conditional.last_modified(seconds * 10**9).encode()) == seconds
    assert conditional.last_modified(seconds * 10**9) == email.utils.formatdate(seconds, usegmt=True)


@given(value=st.binary(max_size=40))
def test_no_bytes_break_the_date_parser(value: bytes) -> None:
    conditional.parse_date(value)


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, SEND),
        ({"if_match": b"*"}, SEND),
        ({"if_match": TAG}, SEND),
        ({"if_match": b'"a,b", ' + TAG}, SEND),
        ({"if_match": b'"other"'}, FAILED),
        ({"if_match": b"W/" + TAG}, FAILED),  # strong comparison
        ({"if_match": b"nonsense"}, FAILED),
        ({"if_match": b""}, FAILED),
        ({"if_match": b'"other"', "if_none_match": TAG}, FAILED),
        ({"if_match": TAG, "if_unmodified_since": BEFORE}, SEND),  # the date does not count
        ({"if_match": TAG, "if_none_match": TAG}, NOT_MODIFIED),
        ({"if_unmodified_since": DATE}, SEND),
        ({"if_unmodified_since": AFTER}, SEND),
        ({"if_unmodified_since": BEFORE}, FAILED),
        ({"if_unmodified_since": b"nonsense"}, SEND),
        ({"if_unmodified_since": BEFORE, "if_none_match": TAG}, FAILED),
        ({"if_none_match": b"*"}, NOT_MODIFIED),
        ({"if_none_match": TAG}, NOT_MODIFIED),
        ({"if_none_match": b"W/" + TAG}, NOT_MODIFIED),  # weak comparison
        ({"if_none_match": b'"a" ,\t"b,c", , ' + TAG + b" , x"}, NOT_MODIFIED),
        ({"if_none_match": b'"other"'}, SEND),
        ({"if_none_match": TAG.strip(b'"')}, SEND),
        ({"if_none_match": b'"' + TAG}, SEND),
        ({"if_none_match": b'"other"', "if_modified_since": AFTER}, SEND),  # the date does not count
        ({"if_modified_since": DATE}, NOT_MODIFIED),
        ({"if_modified_since": AFTER}, NOT_MODIFIED),
        ({"if_modified_since": b"Sunday, 06-Nov-94 08:49:37 GMT"}, NOT_MODIFIED),
        ({"if_modified_since": BEFORE}, SEND),
        ({"if_modified_since": b"nonsense"}, SEND),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions_of_a_read(method: str, fields: dict[str, bytes], want: Verdict) -> None:
    assert conditional.verdict(request(method, **fields), ETAG, MTIME_NS) is want


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"if_none_match": b"*"}, FAILED),
        ({"if_none_match": TAG}, FAILED),
        ({"if_modified_since": AFTER}, SEND),  # for reads only
        ({"if_unmodified_since": BEFORE}, FAILED),
        ({"if_match": TAG}, SEND),
    ],
)
def test_preconditions_of_a_delete(fields: dict[str, bytes], want: Verdict) -> None:
    assert conditional.verdict(request("DELETE", **fields), ETAG, MTIME_NS) is want


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, True),
        ({"if_range": TAG}, True),
        ({"if_range": b"W/" + TAG}, False),
        ({"if_range": b'"other"'}, False),
        ({"if_range": TAG + b", " + TAG}, False),
        ({"if_range": b"*"}, False),
        ({"if_range": DATE}, True),
        ({"if_range": b"Sun Nov  6 08:49:37 1994"}, True),
        ({"if_range": AFTER}, False),  # exact, not "since"
        ({"if_range": BEFORE}, False),
        ({"if_range": b"nonsense"}, False),
        ({"if_range": b""}, False),
    ],
)
def test_if_range(fields: dict[str, bytes], want: object) -> None:
    assert conditional.if_range_holds(request(**fields), ETAG, MTIME_NS) is want
