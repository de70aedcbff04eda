"""Range fields against tables of RFC 9110 14 and a brute-force oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.errors import BAD_RANGE, Refused
from hmacfs.http import ranges
from hmacfs.model import Span

K = 10_000


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=0-499", (0, 500)),
        (b"bytes=500-999", (500, 1000)),
        (b"bytes=9500-", (9500, K)),
        (b"bytes=0-", (0, K)),
        (b"bytes=-500", (9500, K)),
        (b"bytes=-10001", (0, K)),  # longer than the file: all of it
        (b"bytes=9999-9999", (9999, K)),
        (b"bytes=9999-10000", (9999, K)),
        (b"bytes=0-" + b"9" * 5000, (0, K)),
        (b"bytes=-" + b"9" * 5000, (0, K)),
        (b"bytes=" + b"0" * 5000 + b"5-" + b"0" * 5000 + b"6", (5, 7)),
        (b"BYTES=1-2", (1, 3)),
        (b"bytes=,, \t1-2\t ,", (1, 3)),
    ],
)
def test_one_range(header: bytes, want: tuple[int, int]) -> None:
    assert ranges.resolve(header, K) == (Span(*want),)


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (b"bytes=0-0,-1", [(0, 1), (9999, K)]),
        (b"bytes=500-600,601-999", [(500, 1000)]),  # adjacent
        (b"bytes=500-700,601-999", [(500, 1000)]),  # overlapping
        (b"bytes=0-9,80-89", [(0, 90)]),  # a gap of 70 is near
        (b"bytes=0-9,89-99", [(0, 100)]),  # of 79 too
        (b"bytes=0-9,90-99", [(0, 10), (90, 100)]),  # of 80 no more
        (b"bytes=-10, 0-9", [(9990, K), (0, 10)]),  # the client's order
        (b"bytes=5000-5009,-10,0-9,5010-5019", [(5000, 5020), (9990, K), (0, 10)]),
        (b"bytes=9000-9009,3000-3009,1000-1009,0-2999", [(9000, 9010), (0, 3010)]),
        (b"bytes=0-9, 20000-", [(0, 10)]),  # one of two is satisfiable
        (b"bytes=20000-,-0,7-7", [(7, 8)]),
    ],
)
def test_several_ranges(header: bytes, want: list[tuple[int, int]]) -> None:
    assert ranges.resolve(header, K) == tuple(Span(*pair) for pair in want)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=,",
        b"bytes=-",
        b"bytes=--1",
        b"bytes=a-b",
        b"bytes=0-b",
        b"bytes=5",
        b"bytes=5-4",
        b"bytes=0-1,5-4",
        b"bytes=0-1 3-4",
        b"bytes=0 - 1",
        b"bytes =0-1",
        b"bytes:0-1",
        b"bytes=+0-1",
        b"bytes=0x0-1",
        b"bytes=0-1_0",
        "bytes=\u0661-2".encode(),
        b"bytes=0-1, bytes=3-4",
        b"items=0-1",
        b"seconds=1.0-2.0",
        b"bytes=" + b",".join(b"%d-%d" % (n * 200, n * 200) for n in range(17)),
        b"bytes=0-10001, 0-0",
        b"bytes=0-,0-,0-",
        b"bytes=0-4999,5000-",
    ],
)
def test_a_range_to_ignore_is_the_whole(header: bytes | None) -> None:
    assert ranges.resolve(header, K) is None


def test_as_many_ranges_as_allowed() -> None:
    spans = tuple(Span(n * 200, n * 200 + 1) for n in range(ranges.RANGES_MAX))
    header = b"bytes=" + b",".join(b"%d-%d" % (span.start, span.start) for span in spans)
    assert ranges.resolve(header, K) == spans


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"bytes=10000-", K),
        (b"bytes=10000-10001", K),
        (b"bytes=-0", K),
        (b"bytes=10000-,-0,20000-20001", K),
        (b"bytes=" + b"9" * 5000 + b"-", K),
        (b"bytes=1-", 0),
        (b"bytes=9-9,1-2", 0),
        (b"bytes=-0", 0),
    ],
)
def test_what_no_byte_satisfies_is_refused(header: bytes, size: int) -> None:
    with pytest.raises(Refused) as caught:
        ranges.resolve(header, size)
    assert caught.value.refusal is BAD_RANGE
    assert caught.value.fields == (("Content-Range", f"bytes */{size}"),)


def test_a_part_of_an_empty_file_is_the_whole() -> None:
    for header in (b"bytes=-5", b"bytes=0-", b"bytes=0-0", b"bytes=0-9,5-"):
        assert ranges.resolve(header, 0) is None


def test_content_range() -> None:
    assert ranges.content_range(Span(0, 1), 10) == "bytes 0-0/10"


SPECS = st.one_of(
    st.tuples(st.integers(0, 1200), st.none()),
    st.tuples(st.none(), st.integers(0, 1200)),
    st.tuples(st.integers(0, 1200), st.integers(0, 400)).map(lambda pair: (pair[0], sum(pair))),
)


def written(spec: tuple[int | None, int | None]) -> bytes:
    return "-".join("" if end is None else str(end) for end in spec).encode()


def asked(spec: tuple[int | None, int | None], size: int) -> set[int]:
    first, last = spec
    if first is None:
        assert last is not None
        return set(range(size)[-last:] if last else ())
    return {at for at in range(size) if first <= at and (last is None or at <= last)}


@given(specs=st.lists(SPECS, min_size=1, max_size=16), size=st.integers(1, 1000))
def test_spans_cover_what_was_asked_and_little_more(
    specs: list[tuple[int | None, int | None]], size: int
) -> None:
    wanted = set().union(*(asked(spec, size) for spec in specs))
    header = b"bytes=" + b", ".join(map(written, specs))
    if not wanted:
        with pytest.raises(Refused):
            ranges.resolve(header, size)
        return
    spans = ranges.resolve(header, size) or (Span(0, size),)
    sent = [at for span in spans for at in range(*span)]
    assert len(sent) == len(set(sent)) <= size
    assert wanted <= set(sent)
    if len(specs) == 1:
        assert wanted == set(sent)
    # Nothing is sent unasked but gaps shorter than a part's head.
    gap = 0
    for at in sorted(set(sent)):
        gap = 0 if at in wanted else gap + 1
        assert gap < ranges.NEAR_BYTES


@given(specs=st.lists(SPECS, min_size=1, max_size=16), size=st.integers(1, 1000))
def test_spans_keep_the_order_of_first_mention(specs: list[tuple[int | None, int | None]], size: int) -> None:
    try:
        spans = ranges.resolve(b"bytes=" + b",".join(map(written, specs)), size)
    except Refused:
        return
    if spans is None:
        return
    mentioned = [
        next(n for n, spec in enumerate(specs) if asked(spec, size) & set(range(*span))) for span in spans
    ]
    assert mentioned == sorted(mentioned)


@given(header=st.binary(max_size=40) | st.text("bytes=0123456789-, ", max_size=40).map(str.encode))
def test_any_bytes_are_spans_the_whole_or_a_refusal(header: bytes) -> None:
    try:
        spans = ranges.resolve(b"bytes=" + header, 100)
    except Refused:
        return
    assert spans is None or all(0 <= span.start < span.stop <= 100 for span in spans)
