"""Lines of a head as bytes: the one place where text becomes part of one.

Knows nothing of which fields there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode(texts: Sequence[str]) -> bytes:
    r"""Give `texts` ("Name: value" each), every one ended by CRLF.

    Raises ValueError if one holds anything but printable ASCII. RFC 9110 5.5 would let a tab and obs-text
    through; nothing here has a use for them.
    """
    # Guards against response splitting: whatever a file name, a signed type or a client's words hold, no CR
    # or LF of theirs gets out. isprintable() is one pass in C, cheaper than a pattern.
    if not (joined := "".join(texts)).isascii() or not joined.isprintable():
        raise ValueError("a line of a head holds a control or non-ASCII character")
    return ("\r\n".join(texts) + "\r\n").encode("ascii")
