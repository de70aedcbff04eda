"""Lines of a head as bytes: the one place where text becomes part of one.

Knows nothing of which fields there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_UNFIT: Final = "a line of a head holds a control or non-ASCII character"


def encode(texts: Sequence[str]) -> bytes:
    r"""Return `texts` ("Name: value" each), every one ended by CRLF.

    Raises ValueError if one holds anything but printable ASCII. RFC 9110 5.5 would let a tab and obs-text
    through; nothing here has a use for them.
    """
    try:
        made = "\r\n".join([*texts, ""]).encode("ascii")
    except UnicodeEncodeError:
        raise ValueError(_UNFIT) from None
    # Guards against response splitting: whatever a file name, a signed type or a client's words hold, no CR
    # or LF but our own gets out. Deleting what may stand is the cheapest pass (0.6 us for 700 bytes).
    if made.translate(None, _PRINTABLE) != b"\r\n" * len(texts):
        raise ValueError(_UNFIT)
    return made
