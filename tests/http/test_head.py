"""Heads: what is made of the sound ones, when the others are refused, and that the cut does not matter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from corpus import ROWS
from corpus.reader import LIMITS, Accepted, Reader, Rejected, read, single_bytes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hmacfs.errors import (
    BAD_FIELD,
    BAD_PATH,
    BAD_REQUEST_LINE,
    HEAD_TOO_LARGE,
    METHOD_UNKNOWN,
    TARGET_TOO_LONG,
    TOO_LARGE,
    VERSION_UNSUPPORTED,
    Refusal,
    Refused,
)
from hmacfs.http import head
from hmacfs.model import Head

SOUND = [row.render(host=b"h:1", file=b"/u/f", place=b"/u/n?v=0") for row in ROWS if row.sound]
SMALL = [wire for wire in SOUND if len(wire) < 400]
METHODS = {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"}


def parse(*lines: bytes) -> Head:
    return head.parse(b"\r\n".join([*lines, b"", b""]), LIMITS)


def test_a_download_is_read() -> None:
    got = parse(b"GET /u/a%20b?x=%20y HTTP/1.1", b"Host: h", b"Range: bytes=0-1 ", b"Accept: a", b"ACCEPT: b")
    assert got == Head(
        method="GET",
        target=b"/u/a%20b?x=%20y",
        path="/u/a b",
        query="x=%20y",
        http10=False,
        keep_alive=True,
        fields={b"host": b"h", b"range": b"bytes=0-1", b"accept": b"a, b"},
        length=None,
        chunked=False,
        expect_continue=False,
    )
    assert not got.has_body


def test_an_upload_is_read() -> None:
    got = parse(
        b"PUT /u/a HTTP/1.1", b"host: h", b"Content-Length: 0012\t", b"Expect: 100-Continue", b"X-Empty:"
    )
    assert (got.length, got.chunked, got.expect_continue, got.has_body) == (12, False, True, True)
    assert got.fields[b"x-empty"] == b""


def test_a_chunked_upload_has_no_length() -> None:
    got = parse(b"PUT /u/a HTTP/1.1", b"Host: h", b"Transfer-Encoding: Chunked", b"Connection: close")
    assert (got.length, got.chunked, got.has_body, got.keep_alive) == (None, True, True, False)


def test_an_absolute_target_replaces_the_host() -> None:
    got = parse(b"GET http://other:80/a?b HTTP/1.1", b"Host: h")
    assert (got.path, got.query, got.fields[b"host"]) == ("/a", "b", b"other:80")
    assert got.target == b"http://other:80/a?b"


def test_options_of_the_server_has_a_star_for_path() -> None:
    assert parse(b"OPTIONS * HTTP/1.1", b"Host: h").path == "*"


@pytest.mark.parametrize(
    ("line", "fields", "want"),
    [
        (b"1.1", b"X: y", True),
        (b"1.2", b"X: y", True),
        (b"1.0", b"X: y", False),
        (b"1.0", b"Connection: Keep-Alive", True),
        (b"1.0", b"Connection: keep-alive, close", False),
        (b"1.1", b"Connection: Close", False),
        (b"1.1", b"Connection: close\t", False),
        (b"1.1", b"Connection: te,\tclose", False),
        (b"1.1", b"Connection: te\r\nConnection: close", False),
        (b"1.1", b"Connection: enclose", True),
        (b"1.1", b"Connection:", True),
        (b"1.1", b"Connection: upgrade\r\nUpgrade: h2c", True),
        (b"1.1", b"Connection: upgrade, close\r\nUpgrade: h2c", False),
        (b"1.0", b"Connection: upgrade\r\nUpgrade: h2c", False),
        (b"1.0", b"Connection: upgrade, keep-alive\r\nUpgrade: h2c", True),
        (b"1.1", b"Upgrade: h2c", True),
    ],
)
def test_keep_alive(line: bytes, fields: bytes, want: bool) -> None:  # noqa: FBT001 - a table's column
    assert parse(b"GET / HTTP/" + line, b"Host: h", fields).keep_alive is want


@pytest.mark.parametrize(
    ("lines", "close"),
    [
        ([b"GET /a//b HTTP/1.1", b"Host: h"], False),
        ([b"GET /a//b HTTP/1.1", b"Host: h", b"Connection: close"], True),
        ([b"GET /a//b HTTP/1.0"], True),
        ([b"HEAD /a//b HTTP/1.1", b"Host: h"], False),
        ([b"PUT /a//b HTTP/1.1", b"Host: h", b"Content-Length: 1"], True),
        ([b"PUT /a//b HTTP/1.1", b"Host: h", b"Content-Length: 0"], False),
        ([b"PUT /a//b HTTP/1.1", b"Host: h", b"Transfer-Encoding: chunked"], True),
    ],
)
def test_a_bad_path_leaves_the_connection_only_where_nothing_can_be_mistaken(
    lines: list[bytes],
    close: bool,  # noqa: FBT001 - a table's column
) -> None:
    with pytest.raises(Refused) as caught:
        parse(*lines)
    assert caught.value.refusal.code == BAD_PATH.code
    assert caught.value.refusal.close is close


def test_a_length_no_file_has_is_refused_and_ends_the_connection() -> None:
    assert parse(b"PUT /a HTTP/1.1", b"Host: h", b"Content-Length: %d" % (2**63 - 1)).length == 2**63 - 1
    with pytest.raises(Refused) as caught:
        parse(b"PUT /a HTTP/1.1", b"Host: h", b"Content-Length: %d" % 2**63)
    assert caught.value.refusal == TOO_LARGE._replace(close=True)


@pytest.mark.parametrize(
    ("data", "start", "want"),
    [
        (b"", 0, -1),
        (b"\r\n\r\n", 0, -1),
        (b"GET / HTTP/1.1\r\n\r", 0, -1),
        (b"GET / HTTP/1.1\r\n\r\n", 0, 18),
        (b"GET / HTTP/1.1\r\n\r\n", 17, 18),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\nrest", 0, 22),
        (b"\r\n" * 4, 0, 8),
    ],
)
def test_the_end_is_found(data: bytes, start: int, want: int) -> None:
    assert head.find_end(data, start) == want
    assert head.find_end(bytearray(data), start) == want


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"\x16", BAD_REQUEST_LINE),
        (b"\n", BAD_REQUEST_LINE),
        (b" ", BAD_REQUEST_LINE),
        (b"\r\r", BAD_REQUEST_LINE),
        (b"\r\n\r\n\r", BAD_REQUEST_LINE),
        (b"GET  ", BAD_REQUEST_LINE),
        (b"GET /\x00", BAD_REQUEST_LINE),
        (b"GET /\xc3", BAD_REQUEST_LINE),
        (b"GET /\r", BAD_REQUEST_LINE),
        (b"GET / h", BAD_REQUEST_LINE),
        (b"GET / HTTP/1.1\n", BAD_REQUEST_LINE),
        (b"GET / HTTP/1.1 ", BAD_REQUEST_LINE),
        (b"GET / HTTP/2.0\r\n", VERSION_UNSUPPORTED),
        (b"FETCH / HTTP/1.1\r\n", METHOD_UNKNOWN),
        (b"A" * 33, METHOD_UNKNOWN),
        (b"GET /" + b"a" * 8192, TARGET_TOO_LONG),
        (b"GET / HTTP/1.1\r\n ", BAD_FIELD),
        (b"GET / HTTP/1.1\r\n:", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost ", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost\r", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost: a\n", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost: a\ra", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\t", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\ra", BAD_FIELD),
        (b"GET / HTTP/1.1\r\nHost: a\x00", BAD_FIELD),
        (b"GET / HTTP/1.1\r\n" + b"X" * (16384 - 15), HEAD_TOO_LARGE),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101, HEAD_TOO_LARGE),
    ],
)
def test_an_unfinished_head_is_refused_at_the_byte_that_spoils_it(data: bytes, want: Refusal) -> None:
    head.check_partial(data[:-1], LIMITS)
    for start in (0, len(data) - 1):
        with pytest.raises(Refused) as caught:
            head.check_partial(bytearray(data), LIMITS, start)
        assert caught.value.refusal == want


@pytest.mark.parametrize(
    "place", [b"GET /%b HTTP/1.1\r\n", b"GET /a?v=%b HTTP/1.1\r\n", b"GET http://h/%b HTTP/1.1\r\n"]
)
def test_a_target_that_is_not_ascii_is_refused_with_words_for_it(place: bytes) -> None:
    line = place % "\xe9".encode()
    for refuse in (
        lambda: head.parse(line + b"Host: h\r\n\r\n", LIMITS),
        lambda: head.check_partial(line[:-2], LIMITS),
    ):
        with pytest.raises(Refused) as caught:
            refuse()
        assert caught.value.refusal == BAD_REQUEST_LINE
        assert "percent-encoded" in caught.value.detail


@pytest.mark.parametrize("wire", SMALL)
def test_no_beginning_of_a_sound_head_is_refused(wire: bytes) -> None:
    end = head.find_end(wire)
    for stop in range(end):
        head.check_partial(wire[:stop], LIMITS)


@given(wires=st.lists(st.sampled_from(SMALL), max_size=4), cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_any_cut_reads_the_same(wires: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(wires)
    places = [0, *sorted(place % (len(wire) + 1) for place in cuts), len(wire)]
    assert read([wire[start:stop] for start, stop in pairwise(places)]).seen == read([wire]).seen


NOISE = st.one_of(
    st.sampled_from(
        [
            *(
                b"\r\n",
                b"\n",
                b"\r",
                b" ",
                b"\t",
                b"\x00",
                b":",
                b",",
                b"%",
                b"#",
                b"/",
                b"..",
                b"\xff",
                b"0",
            ),
            *(b"Host: x\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0"),
        ]
    ),
    st.binary(min_size=1, max_size=4),
)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """Return a sound request with a few places cut, doubled, moved or replaced."""
    wire = draw(st.sampled_from(SMALL))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(wire)))
        stop = min(len(wire), start + draw(st.integers(0, 12)))
        middle = draw(st.one_of(NOISE, st.just(b""), st.just(wire[start:stop] * 2)))
        wire = wire[:start] + middle + wire[stop:]
    return wire


def summary(reader: Reader) -> list[object]:
    """Return what was seen; of a refusal only that there was one: whole and in parts, another fault of the
    same head may be met first.
    """
    return [one if isinstance(one, Accepted) else one.close for one in reader.seen]


@settings(max_examples=1500)
@example(wire=b"GET /u/f HTTP/1.1\r\nHost: h:1\r\nX-A:1\r\nX-A:\r\n\r\n")
@example(wire=b"GET /u/f HTTP/1.1\r\nHost: h:1\r\nX-A:\r\nX-A:1\r\n\r\n")
@given(wire=mutants())
def test_a_mutant_is_read_or_refused_whatever_the_cut(wire: bytes) -> None:
    whole = read([wire])
    assert summary(read(single_bytes(wire))) == summary(whole)
    for one in whole.seen:
        if isinstance(one, Rejected):
            assert 400 <= one.status <= 505
            continue
        got = one.head
        assert got.method in METHODS
        assert got.path == "*" or got.path.startswith("/")
        assert not any(ord(char) < 0x20 for char in got.path + got.query)
        assert all(
            name == name.lower() and value == value.strip(b" \t") for name, value in got.fields.items()
        )
        assert got.http10 or b"host" in got.fields
        assert not (got.chunked and (got.http10 or b"content-length" in got.fields))
        assert not got.chunked or got.length is None
