"""Header fields that must be refused: their grammar, size and number, and what they say of the body."""

from __future__ import annotations

from corpus.row import CHUNKED, END, GET, NAME, PUT, Row, bad, bad_field, bad_put

_LENGTH = b"Content-Length: 5\r\n"
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_CONTROLS = (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)

_GRAMMAR = (
    *(bad_field(f"f-value-{byte:02x}", b"X-A: a%cb\r\n" % byte) for byte in _CONTROLS),
    *(bad_field(f"f-name-{byte:02x}", b"X%cA: b\r\n" % byte) for byte in b'\x00\x1f\t "(),/;<=>?@[\\]{}\x7f'),
    bad_field("f-name-high", b"X-\xc3\xa9: a\r\n"),
    bad_field("f-name-empty", b": a\r\n"),
    bad_field("f-no-colon", b"X-A\r\n"),
    bad_field("f-no-colon-words", b"just some words\r\n"),
    bad_field("f-space-before-colon", b"X-A : a\r\n"),
    bad_field("f-tab-before-colon", b"X-A\t: a\r\n"),
    bad_field("f-space-before-length-colon", b"Content-Length : 5\r\n"),
    bad("f-space-before-host-colon", GET + b"Host : {H}\r\n" + END, 400),
    bad_field("f-fold", b"X-A: a\r\n b\r\n"),
    bad_field("f-fold-tab", b"X-A: a\r\n\tb\r\n"),
    bad_field("f-fold-empty", b"X-A: a\r\n \r\n"),
    bad_field("f-fold-name", b"X-A\r\n : a\r\n"),
    bad("f-space-first", GET + b" " + NAME + END, 400),
    bad("f-tab-first", GET + b"\t" + NAME + END, 400),
    bad("f-space-line-first", GET + b" \r\n" + NAME + END, 400),
    bad_field("f-lf", b"X-A: a\n"),
    bad_field("f-lf-middle", b"X-A: a\nX-B: b\r\n"),
    bad_field("f-cr", b"X-A: a\rX-B: b\r\n"),
    bad_field("f-cr-cr-lf", b"X-A: a\r\r\n"),
    bad_field("f-cr-in-name", b"X\r-A: a\r\n"),
    bad_field("f-lf-cr", b"X-A: a\n\r"),
    bad("f-end-lf", GET + b"Host: {H}\r\n\n", 400),
    bad("f-end-lf-lf", GET + b"Host: {H}\n\n", 400),
    bad("f-end-cr-cr", GET + b"Host: {H}\r\n\r\r\n", 400),
    bad_field("f-smuggle-lf", b"X-A: a\n\nGET /evil HTTP/1.1\nHost: a\r\n"),
)

_SIZE = (
    bad_field("f-count-bomb", b"".join(b"X-%d: a\r\n" % n for n in range(10_000)), 431),
    bad_field("f-count-just", b"".join(b"X-%d: a\r\n" % n for n in range(100)), 431),
    bad_field("f-count-same", b"X-A: a\r\n" * 101, 431),
    bad_field("f-count-empty", b"X-A:\r\n" * 1000, 431),
    bad_field("f-size-bomb", b"X-A: " + b"a" * 100_000 + b"\r\n", 431),
    bad_field("f-size-just", b"X-A: " + b"a" * 16_384 + b"\r\n", 431),
    bad_field("f-size-many", b"".join(b"X-%d: %b\r\n" % (n, b"a" * 500) for n in range(50)), 431),
    bad_field("f-name-bomb", b"X" * 100_000 + b": a\r\n", 431),
    bad("f-noend-bomb", GET + NAME + b"X" * 100_000, 431),
    bad("f-noend-value-bomb", GET + NAME + b"X-A: " + b"a" * 100_000, 431),
    bad("f-noend-lines-bomb", GET + NAME + b"X: a\r\n" * 20_000, 431),
    bad("f-size-bomb-put", PUT + NAME + b"X-A: " + b"a" * 100_000 + b"\r\n" + _LENGTH + b"\r\nhello", 431),
)

_TWICE = (
    bad_field("f-two-authorization", b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
    bad_field("f-two-range", b"Range: bytes=0-1\r\nRange: bytes=2-3\r\n"),
    bad_field("f-two-if-range", b'If-Range: "a"\r\nIf-Range: "b"\r\n'),
    bad_field("f-two-since", b"If-Modified-Since: 0\r\nif-modified-since: 0\r\n"),
    bad_put("f-two-types", _LENGTH + b"Content-Type: a/b\r\ncontent-type: a/b\r\n"),
    bad_put("f-two-content-ranges", _LENGTH + b"Content-Range: bytes 0-4/5\r\n" * 2),
    bad_put("f-two-expect", _LENGTH + b"Expect: 100-continue\r\n" * 2, 400, 417),
    bad_put("expect-other", _LENGTH + b"Expect: 200-ok\r\n", 417),
    bad_put("expect-list", _LENGTH + b"Expect: 100-continue, gold\r\n", 417),
    bad_put("expect-parameter", _LENGTH + b"Expect: 100-continue;a=b\r\n", 417),
    bad_put("expect-empty", _LENGTH + b"Expect:\r\n", 417),
    bad_field("expect-other-no-body", b"Expect: gold\r\n", 417),
)


def _length(name: str, value: bytes, *statuses: int) -> Row:
    return bad_put(f"cl-{name}", b"Content-Length: " + value + b"\r\n", *(statuses or (400,)))


_LENGTHS = (
    _length("2^64-1", b"18446744073709551615", 400, 413),
    _length("2^63", b"9223372036854775808", 400, 413),
    _length("2^64", b"18446744073709551616", 400, 413),
    _length("overflow", b"9" * 30, 400, 413),
    _length("overflow-long", b"1" + b"0" * 5000, 400, 413),
    _length("wraps-to-5", b"18446744073709551621", 400, 413),
    _length("minus", b"-5"),
    _length("minus-zero", b"-0"),
    _length("plus", b"+5"),
    _length("hex", b"0x5"),
    _length("hex-digit", b"a"),
    _length("float", b"5.0"),
    _length("exponent", b"5e0"),
    _length("underscore", b"1_0"),
    _length("comma", b"5,"),
    _length("list-same", b"5, 5"),
    _length("list-other", b"5, 6"),
    _length("list-no-space", b"5,5"),
    _length("semicolon", b"5;"),
    _length("space-inside", b"5 5"),
    _length("tab-inside", b"5\t5"),
    _length("quoted", b'"5"'),
    _length("word", b"five"),
    _length("unicode-digit", "\u0665".encode()),
    _length("high", b"5\xa0"),
    _length("empty", b""),
    _length("space-only", b"   "),
    _length("nul", b"5\x00"),
    bad_put("cl-twice-same", _LENGTH * 2),
    bad_put("cl-twice-other", _LENGTH + b"Content-Length: 6\r\n"),
    bad_put("cl-twice-zero", b"Content-Length: 0\r\n" + _LENGTH),
    bad_put("cl-twice-cases", _LENGTH + b"content-length: 5\r\n"),
    bad_field("cl-bad-on-get", b"Content-Length: x\r\n"),
)


def _coding(name: str, lines: bytes, *statuses: int) -> Row:
    return bad_put(f"te-{name}", lines, *(statuses or (400,)), body=_CHUNKS)


_CODINGS = (
    bad_put("cl-te", _LENGTH + CHUNKED, body=_CHUNKS),
    bad_put("te-cl", CHUNKED + _LENGTH, body=_CHUNKS),
    bad_put("te-cl-zero", CHUNKED + b"Content-Length: 0\r\n", body=_CHUNKS),
    bad_put("te-cl-bad", CHUNKED + b"Content-Length: x\r\n", body=_CHUNKS),
    bad_put("te-gzip-cl", b"Transfer-Encoding: gzip\r\n" + _LENGTH, 400, 501),
    bad_put("te-identity-cl", b"Transfer-Encoding: identity\r\n" + _LENGTH, 400, 501),
    _coding("gzip-chunked", b"Transfer-Encoding: gzip, chunked\r\n", 501),
    _coding("gzip-chunked-tight", b"Transfer-Encoding: gzip,chunked\r\n", 501),
    _coding("identity-chunked", b"Transfer-Encoding: identity, chunked\r\n", 400, 501),
    _coding("dup-identity", b"Transfer-Encoding: identity\r\n" + CHUNKED, 400),
    _coding("dup-gzip", b"Transfer-Encoding: gzip\r\n" + CHUNKED, 400, 501),
    _coding("dup-chunked", CHUNKED * 2),
    _coding("chunked-chunked", b"Transfer-Encoding: chunked, chunked\r\n", 400, 501),
    _coding("chunked-gzip", b"Transfer-Encoding: chunked, gzip\r\n", 400, 501),
    _coding("chunked-identity", b"Transfer-Encoding: chunked, identity\r\n", 400, 501),
    _coding("chunked-comma", b"Transfer-Encoding: chunked,\r\n", 400, 501),
    _coding("comma-chunked", b"Transfer-Encoding: ,chunked\r\n", 400, 501),
    _coding("gzip", b"Transfer-Encoding: gzip\r\n", 400, 501),
    _coding("identity", b"Transfer-Encoding: identity\r\n", 400, 501),
    _coding("empty", b"Transfer-Encoding:\r\n", 400, 501),
    _coding("xchunked", b"Transfer-Encoding: xchunked\r\n", 400, 501),
    _coding("chunkedx", b"Transfer-Encoding: chunkedx\r\n", 400, 501),
    _coding("chunk", b"Transfer-Encoding: chunk\r\n", 400, 501),
    _coding("quoted", b'Transfer-Encoding: "chunked"\r\n', 400, 501),
    _coding("parameter", b"Transfer-Encoding: chunked;q=1\r\n", 400, 501),
    _coding("vertical-tab", b"Transfer-Encoding: \x0bchunked\r\n"),
    _coding("nul", b"Transfer-Encoding: chunked\x00\r\n"),
    _coding("high", b"Transfer-Encoding: chunked\xa0\r\n", 400, 501),
    _coding("space-name", b"Transfer-Encoding : chunked\r\n"),
    _coding("fold", b"Transfer-Encoding:\r\n chunked\r\n"),
    _coding("underscore-cl", b"Transfer-Encoding: x\r\nTransfer_Encoding: chunked\r\n", 400, 501),
    bad(
        "te-http10",
        b"PUT {B} HTTP/1.0\r\n" + NAME + b"Connection: keep-alive\r\n" + CHUNKED + END + _CHUNKS,
        400,
    ),
    bad("te-http10-get", b"GET {P} HTTP/1.0\r\n" + NAME + CHUNKED + b"\r\n0\r\n\r\n", 400),
)

_UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
_UPGRADES = (
    bad_put("upgrade-cl-te", _UPGRADE + _LENGTH + CHUNKED, body=_CHUNKS),
    bad_put("upgrade-cl-cl", _UPGRADE + _LENGTH + b"Content-Length: 6\r\n"),
    bad_put("upgrade-te-gzip", _UPGRADE + b"Transfer-Encoding: gzip\r\n", 400, 501),
    bad("upgrade-connect", b"CONNECT {H} HTTP/1.1\r\n" + NAME + _UPGRADE + END, 400, 405, 501),
)

ROWS: tuple[Row, ...] = (*_GRAMMAR, *_SIZE, *_TWICE, *_LENGTHS, *_CODINGS, *_UPGRADES)
