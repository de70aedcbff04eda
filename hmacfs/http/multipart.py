"""Several ranges as one body: multipart/byteranges (RFC 9110 14.6).

Knows nothing of chance: the boundary is the caller's, and must be unguessable to whoever wrote the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hmacfs.http import lines, ranges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.model import Span

# RFC 2046 5.1.1 less what would need quoting in the Content-Type (RFC 9110 5.6.2).
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'+_.-]{1,70}")


def content_type(boundary: str) -> str:
    """Return the Content-Type of the whole answer; raises ValueError for a boundary that needs quoting."""
    if _BOUNDARY.fullmatch(boundary) is None:
        raise ValueError("a boundary is 1 to 70 letters, digits and '+_.-")
    return f"multipart/byteranges; boundary={boundary}"


def byteranges(
    spans: Iterable[Span], size: int, content_type: str | None, boundary: str
) -> list[bytes | Span]:
    """Return the pieces of the body: part heads as bytes, file bytes as spans, in the order of `spans`.

    `size` is the file's, `content_type` the file's own type. The length is the sum of the pieces, so
    Reply.length knows it. Raises ValueError for a type that could split a part head.
    """
    pieces: list[bytes | Span] = []
    opening = f"--{boundary}"
    for span in spans:
        head = [opening, f"Content-Range: {ranges.content_range(span, size)}"]
        if content_type is not None:
            head.insert(1, f"Content-Type: {content_type}")
        # From the second part on, the line break that ends the file's bytes belongs to the delimiter.
        pieces += [b"\r\n" * bool(pieces) + lines.encode(head) + b"\r\n", span]
    return [*pieces, b"\r\n" + lines.encode([f"--{boundary}--"])]
