"""Forms against a real file: what is stored, what is refused, and that the wire's cuts do not matter."""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from hmacfs import errors, transfer
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
NAMES = string.ascii_letters + string.digits + " ._-()ä€😀"


@dataclass
class Part:
    """An unnamed file with room for `length` bytes."""

    file: Descriptor
    length: int
    room: None = None


def field(name: str, content: bytes, filename: str | None = None) -> bytes:
    """Return one part of a form as browsers and curl write it."""
    named = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: image/png'
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return top.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--".encode()


def read(pieces: Iterable[bytes], room: int = 1 << 20) -> tuple[str, bytes, bytes]:
    """Return name, stored bytes and digest of a form that comes in `pieces`. Raises Refused."""
    fd = os.memfd_create("part")
    try:
        form = transfer.FormParser(Part(Descriptor(fd, owned=False), room), BOUNDARY)
        for piece in pieces:
            form.take(memoryview(piece))
        name, size, digest = form.finish()
        stored = os.pread(fd, 1 << 21, 0)
        assert len(stored) == size
        return name, stored, digest
    finally:
        os.close(fd)


def cut(wire: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut `wire` at the places that lie within it."""
    ends = sorted({place % (len(wire) + 1) for place in places})
    return [wire[start:stop] for start, stop in zip([0, *ends], [*ends, len(wire)], strict=True)]


@pytest.mark.parametrize(
    "tail", [b"", b"\r\n", b"\r\nan epilogue is to be ignored\r\n--" + BOUNDARY.encode()]
)
@pytest.mark.parametrize(
    "content", [b"", b"x", b"\r\n", b"\r\n--", b"--" + BOUNDARY.encode(), bytes(range(256))]
)
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_a_file_is_stored_however_it_is_cut(content: bytes, tail: bytes, piece: int) -> None:
    wire = field("user", b"romeo") + field("file", content, "a b.png") + field("more", b"") + END + tail
    pieces = [wire[at : at + piece] for at in range(0, len(wire), piece)]
    assert read(pieces) == ("a b.png", content, blake3(content).digest())


@given(st.binary(max_size=300), st.text(NAMES, min_size=1), st.lists(st.integers(0, 2000)))
@example(b"", "a", [])
def test_any_cut_stores_the_same(content: bytes, name: str, places: list[int]) -> None:
    wire = field("file", content, name) + END + b"\r\n"
    if f"\r\n--{BOUNDARY}".encode() not in content:
        assert read(cut(wire, places)) == (name, content, blake3(content).digest())


@pytest.mark.parametrize(
    ("wire", "refusal"),
    [
        (b"", errors.FORM_MALFORMED),
        (END, errors.FORM_MALFORMED),
        (field("file", b"x", "a"), errors.FORM_MALFORMED),
        (field("file", b"x", "a") + END[:-1], errors.FORM_MALFORMED),
        (field("file", b"x", "a")[:-10], errors.FORM_MALFORMED),
        (field("other", b"x", "a") + END, errors.FORM_MALFORMED),
        (field("file", b"x") + END, errors.FORM_MALFORMED),  # a text, not a file
        (field("file", b"x", "") + END, errors.FORM_MALFORMED),  # no file was chosen
        (field("file", b"x", "a") * 2 + END, errors.FORM_MALFORMED),
        (field("f", b"x") * (transfer.FORM_PARTS + 1) + END, errors.FORM_MALFORMED),
        (field("n" * 2 * transfer.FORM_HEADER_BYTES, b"x") + END, errors.FORM_MALFORMED),
        (b"--" + BOUNDARY.encode() + b"\r\n" + b"A: b\r\n" * 20, errors.FORM_MALFORMED),
        (b"--" + BOUNDARY.encode() + b"\r\n\r\nno name\r\n" + END, errors.FORM_MALFORMED),
        (b"--" + BOUNDARY.encode() + b"\r\n\xff: \xff\r\n\r\n", errors.FORM_MALFORMED),
        (b"not a form", errors.FORM_MALFORMED),
        (field("file", b"x" * 101, "a") + END, errors.SIZE_MISMATCH),
    ],
)
@pytest.mark.parametrize("piece", [1, 100_000])
def test_a_bad_form_is_refused(wire: bytes, refusal: errors.Refusal, piece: int) -> None:
    with pytest.raises(Refused) as caught:
        read((wire[at : at + piece] for at in range(0, len(wire), piece)), room=100)
    assert caught.value.refusal is refusal


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"\r\n", b"--", f"--{BOUNDARY}".encode(), END, b"\r\n\r\n", field("file", b"abc", "x")]
            ),
            st.just(b'Content-Disposition: form-data; name="file"; filename="\xc3\xa4%0D%22"'),
            st.just(b"Content-Disposition: form-data; name*=utf-8''x; filename"),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 500), max_size=4),
)
def test_whatever_comes_is_stored_or_refused(parts: list[bytes], places: list[int]) -> None:
    try:
        name, _, _ = read(cut(b"".join(parts), places))
    except Refused:
        return
    assert name


@pytest.mark.parametrize(
    ("room", "content", "refusal"),
    [
        (5, b"123456", errors.SIZE_MISMATCH),
        (5, b"12345", None),
        (0, b"", None),
        (0, b"1", errors.SIZE_MISMATCH),
    ],
)
def test_no_more_is_written_than_there_is_room_for(
    room: int, content: bytes, refusal: errors.Refusal | None
) -> None:
    wire = field("file", content, "a") + END
    if refusal is None:
        assert read([wire], room)[1] == content
        return
    with pytest.raises(Refused) as caught:
        read([wire], room)
    assert caught.value.refusal is refusal
