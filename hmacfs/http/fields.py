"""Header fields of a request: the raw lines of one head in, a mapping or a refusal out.

The grammar is httptools'; what it leaves open (white space, repeated fields) is decided here. Plain lines,
which nearly all are, are read by `_asked`, which knows a part of that grammar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools

from hmacfs import _asked
from hmacfs.errors import BAD_FIELD, BAD_FRAMING, BAD_HOST, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

# Fields on which something is decided and that hold one value: a second one is an attempt to have two
# readers decide differently. Every other repeated field is joined (RFC 9110 5.3).
_SINGLE: Final = {
    b"authorization": BAD_FIELD,
    b"content-length": BAD_FRAMING,
    b"content-range": BAD_FIELD,
    b"content-type": BAD_FIELD,
    b"expect": BAD_FIELD,
    b"host": BAD_HOST,
    b"if-modified-since": BAD_FIELD,
    b"if-range": BAD_FIELD,
    b"if-unmodified-since": BAD_FIELD,
    b"origin": BAD_FIELD,
    b"range": BAD_FIELD,
    b"transfer-encoding": BAD_FRAMING,
}
# The parser sees a request line of ours: the client's was read already, and one of another method or
# version would change what the parser makes of the fields.
_LINE: Final = b"GET / HTTP/1.1\r\n"
_OWS: Final = b" \t"


class _Sink:
    """The one callback that httptools gets."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], object]) -> None:
        self.on_header = on_header


def read(lines: bytes) -> dict[bytes, bytes]:
    """Return the fields, without an offer to upgrade the protocol, which may be ignored (RFC 9110 7.8).

    `lines` are field lines, each with its CRLF, and the empty line. Names are lower case, values without
    the white space around them. Refuses with BAD_FIELD, BAD_HOST or BAD_FRAMING.
    """
    found = _asked.read_fields(lines)
    return read_any(lines) if found is None else found


def read_any(lines: bytes) -> dict[bytes, bytes]:
    """Do as `read`, whatever the lines are like; it asks here only about those that are not plain."""
    found: dict[bytes, bytes] = {}
    # setdefault instead of a method of ours: no Python frame per field. It keeps the first of a repeated
    # field only, which the count below notices.
    parser = httptools.HttpRequestParser(_Sink(found.setdefault))
    try:
        parser.feed_data(_LINE + lines)
    except httptools.HttpParserUpgrade:
        # A parser that takes the offer no longer looks at the framing: it must not see one.
        return read_any(_without_upgrade(lines))
    except httptools.HttpParserError as error:
        words = str(error)
        framing = "Content-Length" in words or "Transfer-Encoding" in words
        raise Refused(BAD_FRAMING if framing else BAD_FIELD, words) from None
    fields = {name.lower(): value.strip(_OWS) for name, value in found.items()}
    if len(fields) != lines.count(b"\r\n") - 1:
        fields = _join(lines)
    return fields


def _without_upgrade(lines: bytes) -> bytes:
    """Return lines that the parser found sound, but for those of the field Upgrade."""
    return b"\r\n".join(
        line for line in lines.split(b"\r\n") if line.partition(b":")[0].lower() != b"upgrade"
    )


def _join(lines: bytes) -> dict[bytes, bytes]:
    """Read lines that the parser found sound, but of which some repeat a name."""
    fields: dict[bytes, bytes] = {}
    for line in lines[:-4].split(b"\r\n"):
        name, _, value = line.partition(b":")
        key, value = name.lower(), value.strip(_OWS)
        if key not in fields:
            fields[key] = value
        elif key in _SINGLE:
            raise Refused(_SINGLE[key], f"repeated {key.decode('ascii')}")
        else:
            # An empty element says nothing (RFC 9110 5.6.1.2), and would leave white space at an end.
            fields[key] = b", ".join(filter(None, (fields[key], value)))
    return fields
