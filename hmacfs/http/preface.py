"""The answer to a client that speaks HTTP/2 at once: frames that tell it to use HTTP/1.1 (RFC 9113).

Knows nothing else of HTTP/2: no request is ever read in it.
"""

from __future__ import annotations

import struct
from typing import Final

_SETTINGS: Final = 0x4
_GOAWAY: Final = 0x7
_HTTP_1_1_REQUIRED: Final = 0xD
_WORDS: Final = b"only HTTP/1.1 is spoken here"


def _frame(kind: int, payload: bytes) -> bytes:
    """Return a frame of the connection itself, stream 0, without flags (RFC 9113 4.1)."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, 0, 0) + payload


ANSWER: Final = _frame(_SETTINGS, b"") + _frame(_GOAWAY, struct.pack("!II", 0, _HTTP_1_1_REQUIRED) + _WORDS)
"""A server's preface, which is its SETTINGS (3.4), and GOAWAY: no stream was or will be processed (6.8)."""
