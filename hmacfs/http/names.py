"""Names of files that are longer than a file system's: how they stand on disk. Text in, text out.

A segment of a path keeps its own name where it fits. A longer one is cut, and its SHA-256 and its ending
follow, so that its URL alone finds it again. A short one that looks like that is treated as a longer one is:
so no two segments ever share a name on disk.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

SEGMENT_BYTES: Final = 255
"""NAME_MAX of Linux's file systems."""
ENCODED_MOST: Final = 8192
"""Characters of a name, percent-encoded: no request target has more, and no field here."""

_DIGITS: Final = 64
_ENDING_MOST: Final = 20
_SHORTENED: Final = re.compile(rf"~[0-9a-f]{{{_DIGITS}}}(?:\.[^./]{{1,{_ENDING_MOST}}})?\Z")
_DOUBTFUL: Final = SEGMENT_BYTES // 4
"""Characters of UTF-8 that may be too many bytes for a name; less than a shortened one has."""
_LONG: Final = re.compile(rf"[^/]{{{_DOUBTFUL},}}")


def on_disk(path: str) -> str:
    """Return the path under which `path`, decoded and relative, is stored."""
    # A path that is too short for either case is nearly every one.
    return path if len(path) < _DOUBTFUL else _LONG.sub(lambda match: _segment(match[0]), path)


def shorten(name: str) -> str:
    """Return `name` cut to SEGMENT_BYTES, with its digest and its ending."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    stem, _, ending = name.rpartition(".")
    tail = f"~{digest}"
    if stem and 0 < len(ending.encode()) <= _ENDING_MOST:
        tail += f".{ending}"
    else:
        stem = name
    room = SEGMENT_BYTES - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore") + tail


def is_long(name: str) -> bool:
    """Return whether a file system cannot hold `name`."""
    return len(name.encode()) > SEGMENT_BYTES


def _segment(segment: str) -> str:
    return shorten(segment) if is_long(segment) or _SHORTENED.search(segment) else segment
