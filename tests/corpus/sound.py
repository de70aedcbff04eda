"""Requests that must be accepted, odd as some of them look."""

from __future__ import annotations

from corpus.row import (
    CHUNKED,
    END,
    GET,
    NAME,
    NO_UPLOAD,
    Row,
    good,
    good_chunks,
    good_field,
    good_put,
)

_LENGTH = b"Content-Length: 5\r\n"
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_GONE = (400, 403, 404)  # no such file


def _line(name: str, line: bytes, *statuses: int, close: bool | None = False) -> Row:
    return good(name, line + b"\r\n" + NAME + END, *statuses, close=close)


def _target(name: str, target: bytes, *statuses: int) -> Row:
    return _line(name, b"GET " + target + b" HTTP/1.1", *statuses)


def _host(name: str, value: bytes) -> Row:
    return good(name, GET + b"Host: " + value + b"\r\n" + END)


_LINES = (
    _line("ok-get", b"GET {P} HTTP/1.1"),
    _line("ok-head", b"HEAD {P} HTTP/1.1"),
    _line("ok-options", b"OPTIONS {P} HTTP/1.1", 200, 204),
    _line("ok-options-star", b"OPTIONS * HTTP/1.1", 200, 204),
    _line("ok-delete", b"DELETE {B} HTTP/1.1", 401, 403, 404, 405),
    _line("ok-patch", b"PATCH {P} HTTP/1.1", 404, 405, 415),
    _line("ok-get-missing", b"GET /upload/none/none HTTP/1.1", *_GONE),
    _line("ok-get-root", b"GET / HTTP/1.1", *_GONE),
    _line("ok-version-1.2", b"GET {P} HTTP/1.2"),
    _line("ok-version-1.9", b"GET {P} HTTP/1.9"),
    _line("ok-version-1.0", b"GET {P} HTTP/1.0", close=True),
    good("ok-1.0-no-host", b"GET {P} HTTP/1.0\r\n\r\n", close=True),
    good("ok-1.0-keep-alive", b"GET {P} HTTP/1.0\r\n" + NAME + b"Connection: keep-alive\r\n\r\n"),
    good("ok-1.0-keep-alive-case", b"GET {P} HTTP/1.0\r\n" + NAME + b"Connection: Keep-Alive\r\n\r\n"),
    good("ok-1.0-expect", b"GET {P} HTTP/1.0\r\n" + NAME + b"Expect: gold\r\n\r\n", close=True),
    good("ok-one-empty-line", END + GET + NAME + END),
    good("ok-two-empty-lines", END + END + GET + NAME + END),
    good("ok-two-requests", (GET + NAME + END) * 2, answers=2),
    good("ok-sixteen-requests", (GET + NAME + END) * 16, answers=16),
    good("ok-requests-with-empty-lines", (GET + NAME + END + END) * 3, answers=3),
    good("ok-head-then-get", b"HEAD {P} HTTP/1.1\r\n" + NAME + END + GET + NAME + END, answers=2),
)

_TARGETS = (
    _target("ok-query", b"{P}?a=b"),
    _target("ok-query-empty", b"{P}?"),
    _target("ok-query-two", b"{P}?a=b?c=d"),
    _target("ok-query-slashes", b"{P}?a=/../b//c"),
    _target("ok-query-pct", b"{P}?a=%00%2f%ff"),
    _target("ok-query-odd", b"{P}?\"<>\\^`{|}[]!$&'()*+,;=:@~"),
    _target("ok-path-odd", b"/upload/none/\"<>^`{|}[]!$&'()*+,;=:@~", *_GONE),
    _target("ok-path-plus", b"/upload/none/a+b", *_GONE),
    _target("ok-path-utf8", b"/upload/none/tr%C3%A8s%20cool", *_GONE),
    _target("ok-path-emoji", b"/upload/none/%f0%9f%98%80", *_GONE),
    _target("ok-path-twice-encoded", b"/upload/none/%252e%252e", *_GONE),
    _target("ok-path-dots", b"/upload/none/...", *_GONE),
    _target("ok-path-hidden", b"/upload/none/.x", *_GONE),
    _target("ok-path-dots-in-name", b"/upload/none/a..b", *_GONE),
    _target("ok-path-255", b"/upload/none/" + b"a" * 255, *_GONE),
    _target("ok-path-deep", b"/upload" + b"/a" * 100, *_GONE),
    _target("ok-path-slash-last", b"/upload/", *_GONE),
    _target("ok-long", b"{P}?" + b"a" * 7900),
    _target("ok-abs", b"http://{H}{P}"),
    _target("ok-abs-https", b"https://{H}{P}"),
    _target("ok-abs-case", b"HTTP://{H}{P}"),
    _target("ok-abs-other-host", b"http://other.example{P}"),
    _target("ok-abs-ipv6", b"http://[::1]:80{P}"),
    _target("ok-abs-query", b"http://{H}{P}?a=b"),
    _target("ok-abs-bare", b"http://{H}", *_GONE),
    _target("ok-abs-bare-query", b"http://{H}?a=b", *_GONE),
    good("ok-abs-10", b"GET http://{H}{P} HTTP/1.0\r\n\r\n", close=True),
)

_HOSTS = (
    _host("ok-host-name", b"files.example.org"),
    _host("ok-host-port", b"files.example.org:8080"),
    _host("ok-host-port-empty", b"files.example.org:"),
    _host("ok-host-port-max", b"a:65535"),
    _host("ok-host-ipv4", b"127.0.0.1:1"),
    _host("ok-host-ipv6", b"[::1]"),
    _host("ok-host-ipv6-port", b"[2001:db8::1]:443"),
    _host("ok-host-ipv6-ipv4", b"[::ffff:192.0.2.1]"),
    _host("ok-host-underscore", b"my_host"),
    _host("ok-host-pct", b"ex%C3%A4mple"),
    _host("ok-host-dot-last", b"example.org."),
    _host("ok-host-spaces-around", b" \t example.org \t "),
    _host("ok-host-empty", b""),
    good("ok-host-no-space", GET + b"Host:example.org\r\n" + END),
    good("ok-host-case", GET + b"hOsT: example.org\r\n" + END),
    good("ok-host-last", GET + b"Accept: */*\r\n" + NAME + END),
)

_FIELDS = (
    good_field("ok-value-empty", b"X-A:\r\n"),
    good_field("ok-value-spaces", b"X-A:   \t \r\n"),
    good_field("ok-value-tab", b"X-A: a\tb\r\n"),
    good_field("ok-value-high", b"X-A: \x80\xff\r\n"),
    good_field("ok-value-visible", b"X-A: " + bytes(range(0x20, 0x7F)) + b"\r\n"),
    good_field("ok-name-symbols", b"!#$%&'*+-.^_`|~0aZ: a\r\n"),
    good_field("ok-fields-99", b"".join(b"X-%d: a\r\n" % n for n in range(99))),
    good_field("ok-value-long", b"X-A: " + b"a" * 15_000 + b"\r\n"),
    good_field("ok-accept-twice", b"Accept: */*\r\nAccept: text/plain\r\n"),
    good_field("ok-none-match-twice", b'If-None-Match: "a"\r\nIf-None-Match: "b"\r\n'),
    good_field("ok-none-match-spaces", b'If-None-Match:  "a" \t\r\n'),
    good_field("ok-range-spaces", b"Range:  bytes=0-0 \t\r\n", 206),
    good_field("ok-range-odd", b"Range: lines=1-2\r\n", 200),
    good_field("ok-cookie", b"Cookie: a=b\r\nCookie: c=d\r\n"),
    good_field("ok-close", b"Connection: close\r\n", close=True),
    good_field("ok-close-tab", b"Connection: close\t\r\n", close=True),
    good_field("ok-close-case", b"connection: CLOSE\r\n", close=True),
    good_field("ok-close-listed", b"Connection: keep-alive, close\r\n", close=True),
    good_field("ok-close-second", b"Connection: keep-alive\r\nConnection: close\r\n", close=True),
    good_field("ok-not-close", b"Connection: closed, x-close\r\n"),
    good_field("ok-keep-alive", b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"),
    good_field("ok-te", b"TE: trailers\r\n"),
    good("ok-after-close", GET + NAME + b"Connection: close\r\n\r\n\x16\x03garbage\n\n", close=True),
    good("ok-after-1.0", b"GET {P} HTTP/1.0\r\n\r\n\x00\x00garbage\n\n", close=True),
)

_UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
_UPGRADES = (
    good_field("ok-upgrade-h2c", _UPGRADE),
    good_field("ok-upgrade-close", b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n", close=True),
    good_field(
        "ok-upgrade-curl",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
    ),
    good_field(
        "ok-upgrade-websocket",
        b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    ),
    good("ok-upgrade-head", b"HEAD {P} HTTP/1.1\r\n" + NAME + _UPGRADE + END),
    good("ok-upgrade-10", b"GET {P} HTTP/1.0\r\n" + _UPGRADE + END, close=True),
    good_put("ok-upgrade-empty-body", _UPGRADE + b"Content-Length: 0\r\n", b"", close=False),
    good_put("ok-upgrade-body", _UPGRADE + _LENGTH, b"hello"),
    good_put("ok-upgrade-body-first", _LENGTH + _UPGRADE, b"hello"),
    good_put("ok-upgrade-chunked", _UPGRADE + CHUNKED, _CHUNKS),
    good_put(
        "ok-upgrade-body-looks-like-request",
        _UPGRADE + b"Content-Length: 40\r\n",
        b"GET /evil HTTP/1.1\r\nHost: evil.example\r\n\r\n"[:40],
    ),
    good(
        "ok-upgrade-get-body",
        GET + NAME + b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n" + _LENGTH + b"\r\nhello",
        close=None,
    ),
    good_field("ok-upgrade-not-connected", b"Upgrade: h2c\r\n"),
    good_put("ok-upgrade-not-connected-body", b"Upgrade: h2c\r\n" + _LENGTH, b"hello"),
)

_LENGTHS = (
    good_put("ok-put", _LENGTH, b"hello"),
    good_put("ok-put-empty", b"Content-Length: 0\r\n", b""),
    good_put("ok-put-no-length", b"", b""),
    good_put("ok-put-spaces", b"Content-Length:  \t5  \t \r\n", b"hello"),
    good_put("ok-put-zeros", b"Content-Length: 0005\r\n", b"hello"),
    good_put("ok-put-many-zeros", b"Content-Length: " + b"0" * 40 + b"5\r\n", b"hello"),
    good_put("ok-put-zero-zeros", b"Content-Length: 00\r\n", b""),
    good_put("ok-put-close", b"Connection: close\r\n" + _LENGTH, b"hello", close=True),
    good_put("ok-put-body-looks-like-request", b"Content-Length: 18\r\n", b"GET / HTTP/1.1\r\n\r\n"),
    good_put("ok-put-typed", _LENGTH + b"Content-Type: text/plain; charset=utf-8\r\n", b"hello"),
    good("ok-put-10", b"PUT {B} HTTP/1.0\r\n" + NAME + _LENGTH + b"\r\nhello", *NO_UPLOAD, close=True),
    good("ok-get-body", GET + NAME + _LENGTH + b"\r\nhello", close=None),
    good("ok-get-chunked", GET + NAME + CHUNKED + END + _CHUNKS, close=None),
    good("ok-get-expect-no-body", GET + NAME + b"Expect: 100-continue\r\n\r\n"),
    good_put("ok-put-expect", _LENGTH + b"Expect: 100-continue\r\n", b"hello"),
    good_put("ok-put-expect-case", _LENGTH + b"Expect: 100-Continue \r\n", b"hello"),
    good(
        "ok-post-form",
        b"POST /upload HTTP/1.1\r\n" + NAME + _LENGTH + b"Content-Type: multipart/form-data\r\n\r\nhello",
        *(400, 401, 403, 404, 405, 415),
        close=None,
    ),
)

_BODIES = (
    good_chunks("ok-ch", _CHUNKS),
    good_chunks("ok-ch-empty", b"0\r\n\r\n"),
    good_chunks("ok-ch-zeros", b"0005\r\nhello\r\n000\r\n\r\n"),
    good_chunks("ok-ch-sixteen-digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    good_chunks("ok-ch-hex", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
    good_chunks("ok-ch-single-bytes", b"1\r\nx\r\n" * 50 + b"0\r\n\r\n"),
    good_chunks("ok-ch-data-looks-like-end", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    good_chunks("ok-ch-ext", b"5;a\r\nhello\r\n0;b\r\n\r\n"),
    good_chunks("ok-ch-ext-value", b"5;a=b;c=d\r\nhello\r\n0\r\n\r\n"),
    good_chunks("ok-ch-ext-quoted", b'5;a="b \t;\\"=\xff"\r\nhello\r\n0\r\n\r\n'),
    good_chunks("ok-ch-ext-quoted-empty", b'5;a="";b\r\nhello\r\n0\r\n\r\n'),
    good_chunks("ok-ch-ext-200", b"5;a=" + b"b" * 200 + b"\r\nhello\r\n0\r\n\r\n"),
    good_chunks("ok-ch-trailer", b"5\r\nhello\r\n0\r\nX-T: a\r\nX-U:\r\n\r\n"),
    good_chunks("ok-ch-trailer-authorization", b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    good_chunks("ok-ch-trailer-host", b"5\r\nhello\r\n0\r\nHost: evil.example\r\nX-Forwarded-For: a\r\n\r\n"),
    good_chunks("ok-ch-trailer-length", b"5\r\nhello\r\n0\r\nContent-Length: 500\r\n\r\n"),
    good("ok-ch-trailer-close", GET + NAME + CHUNKED + b"\r\n0\r\nConnection: close\r\n\r\n", close=None),
    good_put("ok-ch-case", b"transfer-encoding:  ChUnKeD  \r\n", _CHUNKS),
)

ROWS: tuple[Row, ...] = (*_LINES, *_TARGETS, *_HOSTS, *_FIELDS, *_UPGRADES, *_LENGTHS, *_BODIES)
