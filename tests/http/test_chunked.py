"""The chunked decoder: the same body however the wire is cut, and nothing past its end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.errors import BAD_CHUNK, TOO_LARGE, TRAILER_TOO_LARGE, Refusal, Refused
from hmacfs.http import chunked

BIG = 1 << 40

SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a", b"%x;a=b;c", b'%x;a="\\" \xff";b'])
TRAILERS = st.sampled_from([b"", b"X-T: a\r\n", b"X-T:\r\nX-U: \xe9 \r\n"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return a body and one way to send it."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    wire = b"".join(draw(SIZES) % len(chunk) + b"\r\n" + chunk + b"\r\n" for chunk in chunks)
    return b"".join(chunks), wire + draw(SIZES) % 0 + b"\r\n" + draw(TRAILERS) + b"\r\n"


def decode(pieces: list[bytes], limit_bytes: int = BIG) -> tuple[bytes, bytes, bool]:
    """Return the data, what is left over, and whether the end was reached."""
    decoder = chunked.Decoder(limit_bytes)
    data, rest = b"", b""
    for piece in pieces:
        spans = decoder.feed(memoryview(piece))
        assert all(0 <= span.start < span.stop <= decoder.consumed for span in spans)
        data += b"".join(piece[span.start : span.stop] for span in spans)
        rest += piece[decoder.consumed :]
        assert decoder.done or decoder.consumed == len(piece)
    assert not decoder.done or decoder.received == len(data)
    return data, rest, decoder.done


def verdict(pieces: list[bytes], limit_bytes: int = BIG) -> Refusal | tuple[bytes, bytes, bool]:
    """Return what came of the pieces, a refusal included."""
    try:
        return decode(pieces, limit_bytes)
    except Refused as refused:
        return refused.refusal


def cut(wire: bytes, cuts: list[int]) -> list[bytes]:
    """Cut at these places, modulo the length."""
    places = [0, *sorted(place % (len(wire) + 1) for place in cuts), len(wire)]
    return [wire[start:stop] for start, stop in pairwise(places)]


@given(body=bodies(), rest=st.binary(max_size=10), cuts=st.lists(st.integers(0, 1000), max_size=12))
def test_any_cut_reads_the_same_body(body: tuple[bytes, bytes], rest: bytes, cuts: list[int]) -> None:
    data, wire = body
    assert decode(cut(wire + rest, cuts)) == (data, rest, True)


@given(
    wire=st.lists(
        st.sampled_from([b"5", b"\r\n", b"hello", b"0", b";a", b"=b", b'"', b"X: a", b"\n", b" ", b"\r"])
    ).map(b"".join),
    limit_bytes=st.integers(0, 20),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
)
def test_any_cut_gives_the_same_verdict(wire: bytes, limit_bytes: int, cuts: list[int]) -> None:
    assert verdict(cut(wire, cuts), limit_bytes) == verdict([wire], limit_bytes)


@pytest.mark.parametrize(
    ("trailers", "want"),
    [
        (b"", None),
        (b"X-T: a\r\n", None),
        (b"X-T: a\r\nUpload-Checksum: \tsha1 YQ==  \r\n", b"sha1 YQ=="),
        (b"upload-checksum:\r\nX-T: b\r\n", b""),
        (b"Upload-Checksum: a\r\nupload-checksum: b\r\n", b"a, b"),
        (b"X-Upload-Checksum: a\r\n", None),
    ],
)
@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_the_wanted_trailer_is_kept(trailers: bytes, want: bytes | None, cuts: list[int]) -> None:
    decoder = chunked.Decoder(BIG, keeps=b"upload-checksum")
    other = chunked.Decoder(BIG)
    for piece in cut(b"5\r\nhello\r\n0\r\n" + trailers + b"\r\nUpload-Checksum: c\r\n\r\n", cuts):
        assert decoder.done or decoder.trailer is None
        decoder.feed(memoryview(piece))
        other.feed(memoryview(piece))
    assert decoder.done
    assert decoder.trailer == want
    assert other.trailer is None


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"6\r\nhello!\r\n0\r\n\r\n", 413),
        (b"3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n", 413),
        (b"FFFFFFFFFFFFFFFF\r\n", 413),
        (b"7fffffffffffffff\r\n", 413),
        (b"10000000000000000\r\n", 400),
    ],
)
def test_a_body_over_the_limit_is_refused_at_its_size_line(wire: bytes, status: int) -> None:
    got = verdict([wire], 5)
    assert isinstance(got, Refusal)
    assert (got.status, got.close) == (status, True)


def test_a_body_of_exactly_the_limit_passes() -> None:
    assert decode([b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"], 5) == (b"hello", b"", True)


@pytest.mark.parametrize(
    ("wire", "want"),
    [
        (b"5;" + b"a" * 252 + b"\r\n", None),
        (b"5;" + b"a" * 253 + b"\r\n", BAD_CHUNK),
        (b"1;" + b"a" * 252 + b"\r\nx\r\n1;" + b"a" * 252 + b"\r\n", None),
        (b"0\r\nX: " + b"a" * 8185 + b"\r\n\r\n", None),  # 3 + 8185 + 4 bytes: just the limit
        (b"0\r\nX: " + b"a" * 8186 + b"\r\n\r", None),
        (b"0\r\nX: " + b"a" * 8186 + b"\r\n\r\n", TRAILER_TOO_LARGE),
        (b"0\r\n" + b"X: a\r\n" * 1366, TRAILER_TOO_LARGE),
    ],
)
def test_lines_and_trailers_have_a_size(wire: bytes, want: Refusal | None) -> None:
    got = verdict([wire])
    assert got == want if want else not isinstance(got, Refusal)


@pytest.mark.parametrize(
    "wire", [b"\n", b"g", b"-", b" ", b"5 ", b"5\n", b"5\rh", b"5;;", b"5;a=;", b"0\r\n "]
)
def test_a_fault_is_seen_at_its_byte(wire: bytes) -> None:
    assert not isinstance(verdict([wire[:-1]]), Refusal)
    assert verdict([wire]) == BAD_CHUNK


def test_what_follows_the_end_is_not_touched() -> None:
    decoder = chunked.Decoder(BIG)
    assert decoder.feed(memoryview(b"0\r\n\r\nGET / HTTP/1.1\r\n")) == []
    assert decoder.done
    assert decoder.consumed == 5
    assert decoder.feed(memoryview(b"\x00")) == []
    assert decoder.consumed == 0


def test_the_limit_of_a_refused_size_is_the_catalogues() -> None:
    got = verdict([b"6\r\n"], 5)
    assert isinstance(got, Refusal)
    assert got.code == TOO_LARGE.code
