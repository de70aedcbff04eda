"""URLs that a person or a server wrote: whether they can be asked, and whose they are; pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import httpx

_PORTS: Final = {"http": 80, "https": 443}


def can_be_asked(text: str) -> bool:
    """Whether it is an absolute http or https URL that names a host.

    Guards terminals and requests: what is no printable ASCII is no URL (RFC 3986 2), and the library
    raises for a host that begins as an A-label (RFC 5890 2.3.2.1) and is none.
    """
    if not (text.isascii() and text.isprintable()) or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in _PORTS and bool(httpx.URL(text).host and parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port (RFC 6454 4) of a URL that can be asked."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]
