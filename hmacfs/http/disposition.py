"""The file's name in a request's Content-Disposition (RFC 6266, RFC 8187): a field in, a name out."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Linear, whatever the client sends: each part begins with a byte that nothing before it takes.
_QUOTED: Final = rb'"([^"\\]*+(?:\\.[^"\\]*+)*)"'
_PARAMETER: Final = re.compile(
    rb"[ \t]*+;[ \t]*+(?:(%b)[ \t]*+=[ \t]*+(?:%b|(%b)))?" % (_TOKEN, _QUOTED, _TOKEN), re.DOTALL
)
_TYPE: Final = re.compile(rb"[ \t]*+%b" % _TOKEN)
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_EXTENDED: Final = re.compile(rb"(?i:(utf-8|iso-8859-1))'[^']*+'(.++)")
_PARAMETERS_MOST: Final = 32


def filename(value: bytes) -> str:
    """Return the name that a field tells, "" if it tells none.

    `filename*` is preferred, in the two charsets that RFC 8187 3.2 knows of; in another one it does not
    count, and what follows a fault does not, either.
    """
    found: dict[bytes, bytes] = {}
    kind = _TYPE.match(value)
    at = kind.end() if kind else len(value)
    while (match := _PARAMETER.match(value, at)) and len(found) < _PARAMETERS_MOST:
        at = match.end()
        if match[1] is not None:
            text = _PAIR.sub(rb"\1", match[2]) if match[2] is not None else match[3]
            found.setdefault(match[1].lower(), text)
    return _extended(found.get(b"filename*", b"")) or _text(found.get(b"filename", b""))


def _extended(value: bytes) -> str:
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return ""
    try:
        return unquote_to_bytes(match[2]).decode(match[1].decode("ascii"))
    except UnicodeDecodeError:
        return ""


def _text(value: bytes) -> str:
    """Return what a plain parameter says: browsers send UTF-8, RFC 9110 5.5 once knew ISO-8859-1 only."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
