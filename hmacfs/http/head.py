"""The request head: bytes in, a Head or a refusal out, stricter than the parser below it.

RFC 9112 and 9110 decide; where they leave room this refuses, since a head that two servers can read in
two ways lets a request past the proxy's signature check. Every refusal of syntax or framing ends the
connection. One of a head that is well framed leaves it open only if no body follows, the client keeps
the connection alive: else the next byte could be mistaken. `refusal.close` says which, and `Refused.head`
is the Head as far as it is known, for CORS, Accept and HEAD count for the refusal too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hmacfs.errors import (
    BAD_EXPECT,
    BAD_FIELD,
    BAD_FRAMING,
    BAD_HOST,
    BAD_REQUEST_LINE,
    BAD_TARGET,
    CODING_UNKNOWN,
    HEAD_TOO_LARGE,
    HTTP2_PREFACE,
    METHOD_UNKNOWN,
    TARGET_TOO_LONG,
    TOO_LARGE,
    VERSION_UNSUPPORTED,
    Refused,
)
from hmacfs.http import fields as field_lines
from hmacfs.http import target as targets
from hmacfs.model import METHODS, Head, KiB

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 9112 2.2: a server SHOULD ignore at least one empty line before a request; old clients send one
# after a body, nobody sends three.
EMPTY_LINES: Final = 2
# The longest registered method has 17 letters (UPDATEREDIRECTREF).
_METHOD_BYTES: Final = 32
# The largest offset of a file (off_t); no limit that can be configured is above it.
_LENGTH_MAX: Final = 2**63 - 1

# A longer Connection is not read: it lists a few options.
_CONNECTION_BYTES: Final = 512

_TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"  # RFC 9110 5.6.2
_LINE: Final = re.compile(rb"([%b]+) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n" % _TCHAR)
_LINE_BEGUN: Final = re.compile(rb"([%b]*)(?: ([!-~]*)(?:(?<=[!-~]) (?:H[TP/0-9.]{0,7}\r?)?)?)?" % _TCHAR)
# RFC 9112 3.2 and RFC 3986 2: a target is ASCII. It is not encoded here for the client: what checks a
# signature must read a path in one way only, and proxies differ in what they make of such bytes.
_RAW: Final = "bytes beyond ASCII must be percent-encoded (RFC 3986 2.1)"
# How a client of HTTP/2 with prior knowledge begins (RFC 9113 3.4).
_PREFACE: Final = b"PRI * HTTP/2.0\r\n"
# A byte that no field line holds, and the start of a line that is none: folded, nameless or without a
# colon. "\n\r" may be the end of the head.
_CONTROL: Final = re.compile(rb"[^\t\n\r -~\x80-\xff]")
_NO_FIELD: Final = re.compile(rb"\n(?!\r)[%b]*(?:(?<=\n):|[^:%b])" % (_TCHAR, _TCHAR))

# RFC 9110 9.1: a method that is not implemented gets 501, whether or not it is registered.
_METHODS: Final = {name.encode(): name for name in METHODS}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLimits:
    """How much of a head is read before it is refused."""

    head_bytes: int = 16 * KiB
    """From the request line's first byte to the empty line's last."""
    fields: int = 100
    """Field lines."""
    target_bytes: int = 8 * KiB
    """The request target alone (RFC 9112 3 recommends room for at least 8000)."""


def find_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index one past the head's empty line, or -1 if it has not arrived.

    `start` is how many bytes an earlier call saw; empty lines before the request line are no end.
    """
    at = data.find(b"\r\n\r\n", max(_line_start(data), start - 3))
    return at + 4 if at >= 0 else -1


def check_partial(data: bytes | bytearray, limits: HeadLimits, start: int = 0) -> None:
    """Refuse an unfinished head as soon as it can no longer become a valid one.

    `data` holds no end yet (`find_end` gave -1); the first `start` bytes passed an earlier call, which
    makes a head that comes byte by byte cost no more than one that comes at once.
    """
    begin = _line_start(data)
    end = data.find(b"\n", begin) + 1
    if end == 0:
        _check_begun_line(bytes(data[begin:]), limits, may_be_empty=begin < 2 * EMPTY_LINES)
    else:
        if end > start:
            _read_line(bytes(data[begin:end]), 0, limits)
        if len(data) - begin > limits.head_bytes or data.count(b"\n", end) > limits.fields:
            raise Refused(HEAD_TOO_LARGE)
        line = data.rfind(b"\n", end - 1, max(start, end))
        if (
            _has_bare_line_end(data, end)
            or _CONTROL.search(data, max(start, end))
            or _NO_FIELD.search(data, line)
        ):
            raise Refused(BAD_FIELD)


def parse(raw: bytes, limits: HeadLimits) -> Head:
    """Make a Head of exactly one head with its final CRLFCRLF, empty lines before it allowed.

    Refuses with any of the catalogue's lines for framing and syntax, with TOO_LARGE for a length that no
    file has, and with BAD_PATH or NAME_TOO_LONG for a path that can name no file: then with the Head.
    """
    begin = _line_start(raw)
    method, target, minor, end = _read_line(raw, begin, limits)
    if len(raw) - begin > limits.head_bytes or raw.count(b"\r\n", end) - 1 > limits.fields:
        raise Refused(HEAD_TOO_LARGE)
    parts = targets.split(target, is_options=method == "OPTIONS")
    fields = field_lines.read(raw[end:])
    http10 = minor == b"0"
    _check_host(fields, http10=http10)
    if parts.authority is not None:
        fields[b"host"] = parts.authority  # RFC 9112 3.2.2: it replaces the Host received
    length, chunked = _read_framing(fields, http10=http10)
    has_body = chunked or bool(length)
    head = Head(
        method=method,
        target=target,
        path="*",
        query=parts.query.decode("ascii"),
        http10=http10,
        keep_alive=_keeps_alive(fields.get(b"connection"), http10=http10),
        fields=fields,
        length=length,
        chunked=chunked,
        expect_continue=_expects_continue(fields, http10=http10) and has_body,
    )
    if parts.path != b"*":
        _read_path(head, parts.path)
    return head


def _line_start(data: bytes | bytearray) -> int:
    """Return the index past the empty lines that are ignored."""
    if not data.startswith(b"\r\n"):
        return 0
    begin = 2
    while begin < 2 * EMPTY_LINES and data.startswith(b"\r\n", begin):
        begin += 2
    return begin


def _check_begun_line(line: bytes, limits: HeadLimits, *, may_be_empty: bool) -> None:
    """Refuse the beginning of a request line that has no LF yet, if nothing can save it."""
    if line == b"\r" and may_be_empty:
        return
    begun = _LINE_BEGUN.match(line)
    assert begun is not None  # every part of the pattern is optional
    method, target = begun.groups()
    if target is not None and len(target) > limits.target_bytes:
        raise Refused(TARGET_TOO_LONG)
    if len(method) > _METHOD_BYTES:
        raise Refused(METHOD_UNKNOWN)
    if begun.end() != len(line) or (not method and line):
        raise Refused(BAD_REQUEST_LINE, _RAW if line[begun.end() :][:1] >= b"\x80" else "")


def _has_bare_line_end(data: bytes | bytearray, begin: int) -> bool:
    """Tell whether a CR or LF stands alone; a CR in the last place may yet get its LF."""
    pairs = data.count(b"\r\n", begin)
    ends_open = len(data) > begin and data.endswith(b"\r")
    return data.count(b"\n", begin) != pairs or data.count(b"\r", begin) - ends_open != pairs


def _read_line(raw: bytes, begin: int, limits: HeadLimits) -> tuple[str, bytes, bytes, int]:
    """Return method, target, minor version digit and the index past the request line."""
    match = _LINE.match(raw, begin)
    if match is None:
        # First the refusal that its beginning alone would have had, so that the cut does not matter.
        _check_begun_line(raw[begin : raw.find(b"\n", begin)], limits, may_be_empty=False)
        raise Refused(BAD_REQUEST_LINE)
    name, target, major, minor = match.groups()
    if len(target) > limits.target_bytes:
        raise Refused(TARGET_TOO_LONG)
    if raw.startswith(_PREFACE, begin):
        raise Refused(HTTP2_PREFACE)
    if major != b"1":
        raise Refused(VERSION_UNSUPPORTED)
    method = _METHODS.get(name)
    if method is None:
        # CONNECT takes a host with its port, and nothing else (RFC 9112 3.2.3).
        if name == b"CONNECT" and not (b":" in target and targets.is_authority(target)):
            raise Refused(BAD_TARGET)
        raise Refused(METHOD_UNKNOWN)
    return method, target, minor, match.end()


def _check_host(fields: Mapping[bytes, bytes], *, http10: bool) -> None:
    """Refuse a missing Host of HTTP/1.1 and an invalid one of any version (RFC 9112 3.2)."""
    host = fields.get(b"host")
    if host is None:
        if not http10:
            raise Refused(BAD_HOST)
    # An empty value is what a client without an authority must send.
    elif host and not targets.is_authority(host):
        raise Refused(BAD_HOST)


def _read_framing(fields: Mapping[bytes, bytes], *, http10: bool) -> tuple[int | None, bool]:
    """Return Content-Length and whether the body is chunked (RFC 9112 6)."""
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        # RFC 9112 6.1: from HTTP/1.0 its framing is faulty, beside a length it is an attack.
        if http10 or length is not None:
            raise Refused(BAD_FRAMING)
        if coding.lower() != b"chunked":
            raise Refused(CODING_UNKNOWN)
        return None, True
    if length is None:
        return None, False
    if not length.isdigit():
        raise Refused(BAD_FRAMING)
    # Measured before it is read: thousands of digits are not an int Python would read.
    digits = length.lstrip(b"0") or b"0"
    if len(digits) > len(str(_LENGTH_MAX)) or int(digits) > _LENGTH_MAX:
        raise Refused(TOO_LARGE._replace(close=True))  # nobody will ever read past that body
    return int(digits), False


def _keeps_alive(connection: bytes | None, *, http10: bool) -> bool:
    """Tell whether the client lets the connection stay open (RFC 9112 9.3)."""
    if connection is None:
        return not http10
    if len(connection) > _CONNECTION_BYTES:
        return False  # whatever it asks for beside
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    return b"close" not in options and (not http10 or b"keep-alive" in options)


def _expects_continue(fields: Mapping[bytes, bytes], *, http10: bool) -> bool:
    """Tell whether 100 Continue is awaited; refuse other expectations (RFC 9110 10.1.1)."""
    expect = fields.get(b"expect")
    if expect is None or http10:
        return False
    if expect.lower() != b"100-continue":
        raise Refused(BAD_EXPECT)
    return True


def _read_path(head: Head, raw: bytes) -> None:
    """Decode the path; a refusal says whether the connection must end for its sake."""
    try:
        head.path = targets.decode_path(raw)
    except Refused as refused:
        close = head.has_body or not head.keep_alive
        known = Refused(refused.refusal._replace(close=close), refused.detail)
        known.head = head
        raise known from None
