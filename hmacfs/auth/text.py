"""What may stand in a signed message, and what of it may be served."""

from __future__ import annotations

import re
from typing import Final

from hmacfs.errors import BAD_PATH, Refused

TYPE_LIMIT: Final = 255
"""Longest type served; Prosody's share_v2.php draws the line there too."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_CONTROL_BYTE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def is_plain(text: str) -> bool:
    """Say whether `text` holds no control character and no lone surrogate."""
    # isprintable is quick and stricter, so it settles nearly every name.
    return text.isprintable() or not _CONTROL.search(text)


def demand_plain_path(rel: str) -> None:
    r"""Refuse a path that could shift the fields of a message; raises Refused BAD_PATH.

    With v and v2 under one secret, a v2 token for "U/f", 12 bytes and the type "x 99" is also a
    v token for "U/f\0" + "12\0x" and 99 bytes. Without control characters in paths it is not.
    """
    if not is_plain(rel):
        raise Refused(BAD_PATH)


def is_plain_type(value: bytes) -> bool:
    """Say whether a Content-Type may be signed: no control byte but tab (RFC 9110 5.5)."""
    return not _CONTROL_BYTE.search(value)


def servable(content_type: str) -> str | None:
    """Return the type if it can be a header field of a reply, else None: empty, too long, not ASCII."""
    if 0 < len(content_type) <= TYPE_LIMIT and content_type.isascii() and content_type.isprintable():
        return content_type
    return None
