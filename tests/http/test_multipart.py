"""multipart/byteranges, read back by the standard library's MIME parser."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.errors import Refused
from hmacfs.http import multipart, ranges
from hmacfs.model import Reply, Span

FILE = bytes(range(256)) * 8
BOUNDARY = "3d6b6a416f9b5"


def flattened(pieces: list[bytes | Span]) -> bytes:
    return b"".join(FILE[slice(*piece)] if isinstance(piece, Span) else piece for piece in pieces)


def test_the_bytes_of_two_parts() -> None:
    pieces = multipart.byteranges([Span(65, 67), Span(97, 98)], 2048, "text/plain", BOUNDARY)
    assert flattened(pieces) == (
        b"--3d6b6a416f9b5\r\nContent-Type: text/plain\r\nContent-Range: bytes 65-66/2048\r\n\r\nAB\r\n"
        b"--3d6b6a416f9b5\r\nContent-Type: text/plain\r\nContent-Range: bytes 97-97/2048\r\n\r\na\r\n"
        b"--3d6b6a416f9b5--\r\n"
    )


@given(starts=st.lists(st.integers(0, 2040), min_size=1, max_size=16))
def test_parts_are_read_back_and_their_length_is_known(starts: list[int]) -> None:
    spans = [Span(start, start + 8) for start in starts]
    pieces = multipart.byteranges(spans, len(FILE), "image/png", BOUNDARY)
    body = flattened(pieces)
    assert Reply(status=206, code="ok", fields=[], pieces=pieces).length == len(body)
    head = f"Content-Type: {multipart.content_type(BOUNDARY)}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    assert not message.defects
    for part, span in zip(message.iter_parts(), spans, strict=True):
        assert part["Content-Type"] == "image/png"
        assert part["Content-Range"] == ranges.content_range(span, len(FILE))
    assert all(FILE[slice(*span)] in body for span in spans)


@given(specs=st.lists(st.integers(0, 2047), min_size=1, max_size=16))
def test_no_answer_is_longer_than_the_file_and_its_overhead(specs: list[int]) -> None:
    header = b"bytes=" + b",".join(b"%d-%d" % (first, first + 99) for first in specs)
    try:
        spans = ranges.resolve(header, len(FILE)) or (Span(0, len(FILE)),)
    except Refused:
        return
    pieces = multipart.byteranges(spans, len(FILE), "application/octet-stream", BOUNDARY)
    overhead = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    assert sum(span.length for span in spans) <= len(FILE)
    assert overhead <= 150 * (ranges.RANGES_MAX + 1)


def test_a_type_that_would_split_a_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="control"):
        multipart.byteranges([Span(0, 1)], 1, "text/plain\r\nX: y", BOUNDARY)


@pytest.mark.parametrize("boundary", ["", "a b", 'a"', "a\r\nb", "x" * 71])
def test_a_boundary_that_needs_quoting_is_an_error(boundary: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        multipart.content_type(boundary)
