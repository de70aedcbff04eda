"""Chunked bodies that must be refused."""

from __future__ import annotations

from corpus.row import Row, bad_chunks

_LAST = b"\r\n0\r\n\r\n"


def _size(name: str, size: bytes, *statuses: int) -> Row:
    """A chunk of five bytes under a size line of its own kind."""
    return bad_chunks(f"ch-{name}", size + b"\r\nhello" + _LAST, *(statuses or (400,)))


def _trailer(name: str, lines: bytes, *statuses: int) -> Row:
    return bad_chunks(f"ch-trailer-{name}", b"5\r\nhello\r\n0\r\n" + lines + b"\r\n", *(statuses or (400,)))


_SIZES = (
    _size("2^64-1", b"FFFFFFFFFFFFFFFF", 413),
    _size("2^63", b"8000000000000000", 413),
    _size("2^64", b"10000000000000000", 400, 413),
    _size("wraps-to-5", b"10000000000000005", 400, 413),
    _size("overflow", b"F" * 17, 400, 413),
    _size("zeros-64k", b"0" * 65_536 + b"5", 400, 413),
    _size("zeros", b"0" * 16 + b"5", 400, 413),
    _size("minus", b"-5"),
    _size("plus", b"+5"),
    _size("0x", b"0x5"),
    _size("x", b"x5"),
    _size("underscore", b"0_5"),
    _size("float", b"5.0"),
    _size("h", b"5h"),
    _size("g", b"g"),
    _size("empty", b""),
    _size("space-before", b" 5"),
    _size("tab-before", b"\t5"),
    _size("space-after", b"5 "),
    _size("tab-after", b"5\t"),
    _size("spaces-after", b"5     "),
    _size("nul-after", b"5\x00"),
    _size("vertical-tab", b"5\x0b"),
    _size("comma", b"5,5"),
    _size("unicode-digit", "\u0665".encode()),
    _size("high", b"5\xa0"),
    _size("quoted", b'"5"'),
    _size("cr", b"5\r"),
    _size("lf", b"5\n"),
    bad_chunks("ch-size-lf", b"5\nhello\r\n0\r\n\r\n"),
    bad_chunks("ch-size-cr", b"5\rhello\r\n0\r\n\r\n"),
    bad_chunks("ch-size-lf-cr", b"5\n\rhello\r\n0\r\n\r\n"),
    bad_chunks("ch-all-lf", b"5\nhello\n0\n\n"),
)

_DATA = (
    bad_chunks("ch-longer-than-size", b"4\r\nhello\r\n0\r\n\r\n"),
    bad_chunks("ch-shorter-than-size", b"6\r\nhello\r\n0\r\n\r\n"),
    bad_chunks("ch-data-lf", b"5\r\nhello\n0\r\n\r\n"),
    bad_chunks("ch-data-cr", b"5\r\nhello\r0\r\n\r\n"),
    bad_chunks("ch-data-no-end", b"5\r\nhello0\r\n\r\n"),
    bad_chunks("ch-data-space-end", b"5\r\nhello \r\n0\r\n\r\n"),
    bad_chunks("ch-data-two-ends", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    bad_chunks("ch-last-lf", b"5\r\nhello\r\n0\n\r\n"),
    bad_chunks("ch-last-lf-lf", b"5\r\nhello\r\n0\r\n\n"),
    bad_chunks("ch-last-cr-cr", b"5\r\nhello\r\n0\r\n\r\r\n"),
    bad_chunks("ch-last-no-line", b"5\r\nhello\r\n0\r\nGET /evil HTTP/1.1\r\n\r\n"),
    bad_chunks("ch-not-chunked", b"hello"),
    bad_chunks("ch-empty-line-first", b"\r\n5\r\nhello\r\n0\r\n\r\n"),
)

_EXTENSIONS = (
    _size("ext-64k", b"5;" + b"a" * 65_536, 400, 413),
    _size("ext-300", b"5;a=" + b"b" * 300, 400, 413),
    _size("ext-many", b"5" + b";a" * 5000, 400, 413),
    _size("ext-no-end", b"5;" + b"a" * 100_000, 400, 413),
    _size("ext-noname-val", b"5;=x", 400, 413),
    _size("ext-eq-empty", b"5;a=", 400, 413),
    _size("ext-eq-empty-more", b"5;a=;b=c"),
    _size("ext-empty", b"5;"),
    _size("ext-two-semicolons", b"5;;a"),
    _size("ext-two-equals", b"5;a==b"),
    _size("ext-space", b"5; a=b"),
    _size("ext-space-before", b"5 ;a=b"),
    _size("ext-space-inside", b"5;a b"),
    _size("ext-space-equals", b"5;a = b"),
    _size("ext-trailing-space", b"5;a=b "),
    _size("ext-quote-open", b'5;a="b'),
    _size("ext-quote-tail", b'5;a="b"c'),
    _size("ext-quote-middle", b'5;a=b"c"'),
    _size("ext-quote-control", b'5;a="\x01"'),
    _size("ext-quote-escaped-control", b'5;a="\\\x01"'),
    _size("ext-quote-cr", b'5;a="b\rc"'),
    _size("ext-lf", b"5;a\n"),
    _size("ext-lf-smuggle", b"5;\nxx"),
    _size("ext-nul", b"5;a\x00"),
    _size("ext-slash", b"5;a/b"),
    _size("ext-high", b"5;\xe9"),
    bad_chunks("ch-last-ext-bad", b"5\r\nhello\r\n0;=\r\n\r\n"),
)

_TRAILERS = (
    _trailer("bomb", b"X-T: " + b"a" * 100_000 + b"\r\n", 413, 431),
    _trailer("just", b"X-T: " + b"a" * 8192 + b"\r\n", 413, 431),
    _trailer("many", b"X-T: a\r\n" * 5000, 413, 431),
    _trailer("no-end", b"X-T: " + b"a" * 100_000, 413, 431),
    _trailer("no-colon", b"X-T\r\n"),
    _trailer("no-name", b": a\r\n"),
    _trailer("space-before-colon", b"X-T : a\r\n"),
    _trailer("space-first", b" X-T: a\r\n"),
    _trailer("fold", b"X-T: a\r\n b\r\n"),
    _trailer("lf", b"X-T: a\n"),
    _trailer("cr", b"X-T: a\rb\r\n"),
    _trailer("nul", b"X-T: a\x00\r\n"),
    _trailer("control", b"X-T: a\x1f\r\n"),
    _trailer("del", b"X-T: a\x7f\r\n"),
    _trailer("bad-name", b"X(T): a\r\n"),
    _trailer("high-name", b"X-\xe9: a\r\n"),
)

ROWS: tuple[Row, ...] = (*_SIZES, *_DATA, *_EXTENSIONS, *_TRAILERS)
