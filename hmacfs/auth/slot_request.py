"""What is signed: the slot that a client asks its XMPP server for."""

from __future__ import annotations

from typing import NamedTuple


class SlotRequest(NamedTuple):
    """One file that is to be uploaded (XEP-0363 4: filename, size, content-type)."""

    rel: str
    """Path below the endpoint's prefix."""
    size: int
    """Bytes."""
    content_type: str
    """Type to serve; "" if none is to be signed."""
