"""X-Forwarded-For and Forwarded (RFC 7239): what proxies say of their peers in, addresses out.

Read from the right, where the nearest proxy has added its own: what a client has written stands to the left
of that, and may be anything. Whom to believe is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.http.target import authority

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES: Final = 512
"""So much of a field's end is looked at: a dozen proxies, each with an address of IPv6 and more words."""

_PORT_MOST: Final = 65_535
_NODE: Final = re.compile(
    r"(?:(?P<four>[0-9.]{7,15})|\[(?P<six>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)
_BARE_SIX: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 7239 4, but for a comma within quotes, which no proxy writes: the list could not be read from its end.
_PAIR: Final = rf"{_WORD}=(?:{_WORD}|\"[^\",\\]*\")"
_ELEMENT: Final = re.compile(rf"{_PAIR}(?:;{_PAIR})*", re.ASCII)
_EACH: Final = re.compile(_PAIR, re.ASCII)


class Node(NamedTuple):
    """One that sent a request on, or began it."""

    host: str
    """Its address."""
    shown: str
    """The address as the log has it, with the port if that was told."""


def forwarded_for(value: bytes) -> Iterator[Node | None]:
    """Return the nodes of X-Forwarded-For, the nearest first; None, and no more, for what is no address."""
    for element in _from_the_right(value):
        node = _node(element, bare=True)
        yield node
        if node is None:
            return


def forwarded(value: bytes) -> Iterator[Node | None]:
    """Return the nodes of Forwarded, the nearest first; None, and no more, for what names no address.

    That is also "unknown" and what a proxy has made up to hide one (RFC 7239 6.2, 6.3).
    """
    for element in _from_the_right(value):
        pairs = _EACH.findall(element) if _ELEMENT.fullmatch(element) else []
        named = [pair[4:] for pair in pairs if pair[:4].lower() == "for="]
        # RFC 7239 4: each parameter at most once in an element.
        node = _node(named[0].strip('"'), bare=False) if len(named) == 1 else None
        yield node
        if node is None:
            return


def _from_the_right(value: bytes) -> Iterator[str]:
    elements = value[-MOST_BYTES:].decode("latin-1").split(",")
    whole = 1 if len(value) >= MOST_BYTES else 0  # the first one may have been cut
    return (element.strip(" \t") for element in reversed(elements[whole:]))


def _node(text: str, *, bare: bool) -> Node | None:
    """Read an address, maybe with a port; `bare`: that of IPv6 may stand without brackets."""
    port = ""
    if (match := _NODE.fullmatch(text)) is not None:
        four, six, port = match["four"], match["six"], match["port"] or ""
    elif bare and _BARE_SIX.fullmatch(text):
        four, six = None, text
    else:
        return None
    try:
        host = ipaddress.IPv4Address(four) if four else ipaddress.IPv6Address(six)
    except ValueError:
        return None
    if port and not 0 < int(port) <= _PORT_MOST:
        return None
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return Node(str(host), authority(str(host), int(port)) if port else str(host))
