"""Plain field lines are read by a compiled reader: it must say what the general one says, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hmacfs import _asked
from hmacfs.errors import Refused
from hmacfs.http import fields

NAMES = st.sampled_from(
    [
        *(b"Host", b"host", b"Content-Type", b"CONTENT-LENGTH", b"Content-Length", b"Connection", b"Expect"),
        *(
            b"Transfer-Encoding",
            b"Upgrade",
            b"Proxy-Connection",
            b"X",
            b"Authorization",
            b"a" * 32,
            b"a" * 33,
        ),
        *(b"", b"na me", b"na:me", b"\xe9", b"C", b"{", b"_"),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                b"",
                b" ",
                b"\t",
                b"x",
                b" x \t",
                b"a b",
                b"0",
                b"65536",
                b"065536",
                b"+1",
                b"-1",
                b"1 1",
                b"9" * 18,
            ),
            *(
                b"9" * 19,
                b"9" * 20,
                b"chunked",
                b"keep-alive",
                b"Keep-Alive",
                b"close",
                b"upgrade",
                b"100-continue",
            ),
            *(b"a\rb", b"a\nb", b"\x00", b"\x7f", b"\xff", b"a:b", b"websocket", b"keep-alive, upgrade"),
        ]
    ),
    st.binary(max_size=4),
)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\r\n", b"\r\n\r\n"])
COLONS = st.sampled_from([b":"] * 3 + [b": "] * 6 + [b" :", b":\t", b"", b"::"])
LINES = st.lists(st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join), max_size=6).map(
    lambda lines: b"".join(lines) + b"\r\n"
)


@settings(max_examples=3000)
@example(b"\r\n")
@example(b"Connection: keep-alive\r\nContent-Length: 0\r\n\r\n")
@given(LINES)
def test_what_the_quick_reader_takes_the_general_one_reads_alike(lines: bytes) -> None:
    quick = _asked.read_fields(lines)
    if quick is None:
        return
    assert fields.read_any(lines) == quick
    assert list(quick) == list(fields.read_any(lines))


FRAMINGS = (
    *(b"", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Content-Length: x\r\n"),
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    *(b"Connection: close\r\n", b"X: a\r\nX: b\r\n", b"Bad Name: x\r\n", b"X:\r\n folded\r\n"),
)
OFFERS = (b"Upgrade: h2c\r\n", b"Upgrade: websocket\r\nUpgrade: h2c\r\n", b"UPGRADE: TLS/1.2, HTTP/2.0\r\n")


def outcome(lines: bytes) -> object:
    try:
        return fields.read(lines)
    except Refused as refused:
        return refused.refusal


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("first", [True, False])
def test_an_offered_upgrade_changes_nothing(framing: bytes, offer: bytes, *, first: bool) -> None:
    """RFC 9110 7.8: the framing is read, and refused, as without it."""
    connected = b"Connection: upgrade\r\n"
    lines = connected + (offer + framing if first else framing + offer) + b"\r\n"
    want, got = outcome(connected + framing + b"\r\n"), outcome(lines)
    if isinstance(got, dict):
        got.pop(b"upgrade", None)  # of a head that the parser did not take for an offer
    assert got == want


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: x\r\nhost: x\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Connection: close\r\n\r\n",
        b"Upgrade: h2c\r\n\r\n",
        b"Content-Length: 1, 1\r\n\r\n",
        b"Host: x\r\n",
        b"Host: x\n\r\n",
        b"Host : x\r\n\r\n",
        b"",
        b"\r",
    ],
)
def test_what_is_not_plain_is_left(lines: bytes) -> None:
    assert _asked.read_fields(lines) is None


def test_plain_lines_are_taken() -> None:
    lines = b"HOST:a\r\nContent-Length: 65536\r\nX-Empty:\r\nConnection: Keep-Alive \r\n\r\n"
    assert _asked.read_fields(lines) == {
        b"host": b"a",
        b"content-length": b"65536",
        b"x-empty": b"",
        b"connection": b"Keep-Alive",
    }
