r"""Text of unknown origin in, text that is safe to print out: redacted, escaped, shortened.

The result is printable ASCII. A byte outside 0x20 to 0x7e, and the backslash, is written \\xNN, so that the
escapes can be told from the client's own text and no terminal, reader or parser is led astray. Every
pattern is linear in the text's length, whatever the client sends.
"""

from __future__ import annotations

import json
import re
import string
from typing import Final
from urllib.parse import unquote

REDACTED: Final = "-redacted-"
CAP: Final = 512
"""Characters of one value that are printed."""
SHORTENED: Final = "..."
_READ_TIMES: Final = 2
"""So many times the cap are looked through: what is beyond is not printed."""
MAC_DIGITS: Final = 64
"""Hexadecimal digits of a SHA-256."""
ORDINARY: Final = 128
"""Characters that request id, address, method, code and dialect take together when nothing is amiss."""

# Query parameters that carry tokens: those of the dialects, and what clients of others may send by mistake.
SECRET_PARAMETERS: Final = frozenset({"v", "v2", "v3", "token", "jwt", "access_token", "secret"})

_UNSAFE = re.compile(r"[^\x20-\x5b\x5d-\x7e]")
_TOKEN = re.compile(rf"([?&](?:{'|'.join(sorted(SECRET_PARAMETERS))})=)[^&\s]*", re.IGNORECASE)
_ENCODED_NAME = re.compile(r"([?&])((?=[^=&?%]*+%)[^=&?]*+)=[^&\s]*")
# The look-behinds keep these linear: only the first character of a run can begin a match,
# and what a possessive quantifier took is not tried again.
_MAC = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64,}+")
_DOTTED = re.compile(r"(?<![\w-])[\w-]++\.[\w-]++(?:\.[\w-]*+)?", re.ASCII)
_JWT = re.compile(r"eyJ[\w-]{13,}\.[\w-]{8,}", re.ASCII)
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s{1,8}|%20)[\w.~+/=-]{8,}")
_USERINFO = re.compile(r"//[^/?#@\s]+@")
_TORN_ESCAPE = re.compile(r"\\(?:x[0-9a-f]?)?\Z")
# Asked for each request, so not by patterns: taking out what may stand costs a third of matching it.
_HEX: Final = string.hexdigits.encode()
_BARE: Final = bytes(set(range(0x21, 0x7F)) - set(b'"='))
_ORDINARY: Final = _BARE.replace(b"\\", b"")
_ORDINARY_TARGET: Final = f"{string.ascii_letters}{string.digits}_/.,:;~+!$'()*-".encode()
_MAC_NAMES: Final = frozenset({b"v", b"v2", b"token"})


def clean(raw: str | bytes, cap: int = CAP) -> str:
    """Return `raw` as printable ASCII of at most `cap` characters, without tokens and secrets."""
    if isinstance(raw, bytes):
        text = raw.decode("latin-1")
    else:
        text = raw if raw.isascii() else _bytes_of(raw).decode("latin-1")
    long = len(text) > _READ_TIMES * cap
    text = _redact(_cut(text, _READ_TIMES * cap) if long else text)
    if _UNSAFE.search(text):
        text = _UNSAFE.sub(_escape, text)
    if long or len(text) > cap:
        text = _TORN_ESCAPE.sub("", text[: cap - len(SHORTENED)]) + SHORTENED
    return text


def _cut(text: str, length: int) -> str:
    """Return the beginning of `text` up to a place between its words: half a token could not be told."""
    begun = text[:length]
    return begun[: max(map(begun.rfind, "/?& ")) + 1] or begun


def _bytes_of(text: str) -> bytes:
    """Return a file name's own bytes; a lone surrogate of another origin stays visible as its encoding."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _redact(text: str) -> str:
    """Take out whatever may be a token: a log is read by more people than may upload."""
    if "=" in text:
        text = _TOKEN.sub(rf"\1{REDACTED}", text)
        text = _ENCODED_NAME.sub(_without_token, text)
    if len(text) >= MAC_DIGITS:
        text = _MAC.sub(REDACTED, text)
    if "eyJ" in text:  # base64 of '{"', with which each JWT begins
        text = _DOTTED.sub(_without_jwt, text)
    if " " in text or "%20" in text:
        text = _BEARER.sub(rf"\1\2{REDACTED}", text)
    if "@" in text:
        text = _USERINFO.sub(f"//{REDACTED}@", text)
    return text


def _without_token(match: re.Match[str]) -> str:
    name = match[2]
    if unquote(name).strip().lower() in SECRET_PARAMETERS:
        return f"{match[1]}{name}={REDACTED}"
    return match[0]


def _without_jwt(match: re.Match[str]) -> str:
    text = match[0]
    start = text.find("eyJ")
    return text[:start] + REDACTED if _JWT.match(text, start) else text


def as_it_is(raw: bytes) -> str:
    """Return a target that needs nothing done to it, "" for any other; most are of this kind."""
    if len(raw) > CAP or raw.translate(None, _ORDINARY_TARGET) or b"eyJ" in raw:
        return ""
    text = raw.decode("ascii")
    return "" if len(text) >= MAC_DIGITS and _MAC.search(text) else text


def signed(raw: bytes) -> str:
    """Return a target whose query is one MAC and that is ordinary otherwise, without that; "" for any other.

    So it is of nearly every upload; what it gives is what `clean` would.
    """
    path, _, given = raw.partition(b"?")
    name, _, mac = given.partition(b"=")
    if name not in _MAC_NAMES or len(mac) != MAC_DIGITS or mac.translate(None, _HEX):
        return ""
    if not (shown := as_it_is(path)):
        return ""
    shown = f"{shown}?{name.decode()}={REDACTED}"
    return shown if len(shown) <= CAP else ""


def ordinary(text: str) -> bool:
    """Tell whether `text` of any origin is so short and plain that it is printed as it is."""
    return len(text) <= ORDINARY and text.isascii() and not text.encode().translate(None, _ORDINARY)


def bare(text: str) -> bool:
    """Tell whether cleaned `text` can stand in logfmt without quotes."""
    return text != "" and text.isascii() and not text.encode().translate(None, _BARE)


def quoted(text: str) -> str:
    r"""Return cleaned `text` in quotes, `"` and `\` escaped: logfmt's quoted string, and JSON's."""
    if '"' in text or "\\" in text:
        return json.dumps(text)
    return f'"{text}"'
