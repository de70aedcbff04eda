"""Upload-Metadata of tus 1.0.0 (Creation): what a client tells of its file, as keys and Base64 values."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from hmacfs.errors import UPLOAD_METADATA, Refused

_PAIRS_MOST: Final = 64
"""Clients send two to five."""
_KEY: Final = re.compile(r"[!-+\--~]+")  # printable ASCII without space and comma


def read(text: str) -> dict[str, bytes]:
    """Return the values by their keys; a key without a value has b"".

    Raises UPLOAD_METADATA for a key that is empty, not ASCII or given twice, for a value that is not Base64
    and for more keys than anybody needs.
    """
    found: dict[str, bytes] = {}
    if text.count(",") >= _PAIRS_MOST:
        raise Refused(UPLOAD_METADATA, f"more than {_PAIRS_MOST} keys")
    for pair in text.split(","):
        key, _, encoded = pair.strip(" ").partition(" ")
        if key in found or _KEY.fullmatch(key) is None:
            raise Refused(UPLOAD_METADATA)
        try:
            found[key] = base64.b64decode(encoded.encode(), validate=True)
        except binascii.Error:
            raise Refused(UPLOAD_METADATA, f"the value of {key} is not Base64") from None
    return found


def sent(value: bytes | None) -> str | None:
    """Return the field as it was sent, once it is known to be sound; None if there is none.

    tuspy sends an empty one when it has nothing to tell. Raises UPLOAD_METADATA.
    """
    if not value:
        return None
    text = value.decode("latin-1")
    read(text)
    return text
