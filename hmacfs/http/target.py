"""Request targets: the four forms of RFC 9112 3.2, the Host grammar, and the one decoding of a path.

Knows nothing of endpoints or files: whether a path names something is for others to say.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from hmacfs.errors import BAD_PATH, BAD_TARGET, Refused

_PORT_MAX: Final = 65535

# RFC 3986 3.2.2 without IPvFuture, which names no address in use. A reg-name here is never empty.
_AUTHORITY: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]*))?"
)
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*)([^?]*)(.*)")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HIDDEN_SLASH: Final = re.compile(rb"%2[Ff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_NOT_UTF8: Final = "the path is not UTF-8"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_PATH: Final = re.compile(r"(?:/[^/\\\x00-\x1f\x7f]+)+/?|/")
_DOT_SEGMENT: Final = re.compile(r"/\.{1,2}(?:/|\Z)")


class RequestTarget(NamedTuple):
    """What a request target names, still encoded."""

    authority: bytes | None
    """Host and port of an absolute-form target; None for the other forms."""
    path: bytes
    """Percent-encoded path, starting with "/"; or "*"."""
    query: bytes
    """What follows the first "?"; empty if nothing does."""


def split(raw: bytes, *, is_options: bool) -> RequestTarget:
    """Take a target of visible ASCII apart; refuse with BAD_TARGET what no form allows.

    Fragments and broken escapes are refused in every form (RFC 9112 3.2, RFC 3986 2.1); "*" is for
    OPTIONS alone (RFC 9112 3.2.4). Scheme and authority of the absolute form are dropped from the path.
    """
    if b"#" in raw or (b"%" in raw and _BAD_ESCAPE.search(raw)):
        raise Refused(BAD_TARGET)
    if raw.startswith(b"/"):
        path, _, query = raw.partition(b"?")
        return RequestTarget(None, path, query)
    if raw == b"*" and is_options:
        return RequestTarget(None, raw, b"")
    absolute = _ABSOLUTE.fullmatch(raw)
    # RFC 9110 4.2.1 and 4.2.4: an empty host and userinfo are errors; the grammar knows neither.
    if absolute is None or not is_authority(absolute[1]):
        raise Refused(BAD_TARGET)
    return RequestTarget(absolute[1], absolute[2] or b"/", absolute[3][1:])


@functools.lru_cache(maxsize=32)  # nearly every request names one of a few hosts
def is_authority(raw: bytes) -> bool:
    """Tell whether `raw` is a host with an optional port (RFC 3986 3.2.2 and 3.2.3), without userinfo."""
    match = _AUTHORITY.fullmatch(raw)
    if match is None:
        return False
    address, port = match.groups()
    if address is not None:
        try:
            ipaddress.IPv6Address(address.decode("ascii"))
        except ValueError:
            return False
    # Leading zeros are allowed, thousands of them are not an int Python would read.
    digits = (port or b"").lstrip(b"0")
    return len(digits) <= len(str(_PORT_MAX)) and int(digits or b"0") <= _PORT_MAX


def authority(host: str, port: int) -> str:
    """Return an address as it is written: that of IPv6 stands in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reference(base: str, path: str) -> str:
    """Return a relative reference (RFC 3986 4.2) from a request for `base` to `path`, both decoded.

    `path` lies below the directory of `base`. A proxy may so serve this server below a prefix of its own: the
    client resolves the reference against the URL that it asked for (RFC 9110 10.2.2).
    """
    return quote(path[base.rindex("/") + 1 :])


def itself(target: bytes) -> str:
    """Return a relative reference from a request for `target`, which does not end in "/", to itself."""
    path, mark, query = target.partition(b"?")
    last = path[path.rindex(b"/") + 1 :]
    # What stands before a colon could be a scheme (RFC 3986 4.2).
    return ((b"./" if b":" in last else b"") + last + mark + query).decode("ascii")


def host_of(text: str) -> str:
    """Return the address in `text`, which is one as `authority` writes it, or without a port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def decode_path(raw: bytes) -> str:
    """Return the path percent-decoded once, as UTF-8; "+" stays "+".

    Refuses with BAD_PATH what could name another file than the token signed: control bytes, an encoded
    slash, any backslash (which browsers and Windows take for a slash), empty and dot segments, broken escapes
    and bytes that are not UTF-8 (overlong forms and surrogates included). A path may end in "/": such a path
    names no file, and what makes a Slot of it must answer so.
    """
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise Refused(BAD_PATH, "a percent sign is not followed by two hex digits")
        if _HIDDEN_SLASH.search(raw):
            raise Refused(BAD_PATH, "an encoded slash")
        raw = unquote_to_bytes(raw)
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(BAD_PATH, _NOT_UTF8) from None
    check_path(path)
    return path


def check_path(path: str) -> None:
    """Raise Refused BAD_PATH for a decoded path that `decode_path` would not return."""
    if _PLAIN_PATH.fullmatch(path) is None or ("/." in path and _DOT_SEGMENT.search(path)):
        raise Refused(BAD_PATH, _fault(path))
    if not path.isascii() and _SURROGATE.search(path):
        raise Refused(BAD_PATH, _NOT_UTF8)


def _fault(path: str) -> str:
    """Return what makes a decoded path a bad one."""
    if "\\" in path:
        return "a backslash, which no name may hold here"
    if _CONTROL.search(path):
        return "a control character"
    return "an empty segment" if "//" in path else "a dot segment"
