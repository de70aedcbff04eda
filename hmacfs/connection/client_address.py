"""The address of a client: its socket's own, or the one that a proxy of ours names."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hmacfs.http import forwarded
from hmacfs.http.target import authority, host_of
from hmacfs.policy.trusted_proxies import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.http.forwarded import Node
    from hmacfs.policy.trusted_proxies import Trusted

GONE: Final = "gone"
"""The word for the peer of a TCP socket that was reset before it could be asked about."""

# Requests of one client come together, and few clients are busy at once. Each entry holds at most 2 KiB.
REMEMBERED: Final = 1024


class Peer(NamedTuple):
    """The other end of an accepted socket."""

    shown: str
    """The client as the log has it: as a PROXY header names it, else address and port, "unix" or "gone"."""
    is_gone: bool
    """Whether it has reset the connection already."""
    is_trusted: bool
    """Whether the socket's own peer is one of our proxies."""
    forwards: bool
    """Whether its requests may name another client (X-Forwarded-For, Forwarded)."""
    is_direct: bool
    """Whether the socket leads to the client itself, and not to a proxy."""


def peer_of(sock: socket.socket, peername: object, named: str, trusted: Trusted) -> Peer:
    """Return what is known of the peer of `sock`, whose getpeername(2) is `peername`.

    `named` is the client of a PROXY header; "" if there was none. Such a client is not trusted, unless its
    address is in `trusted`, too.
    """
    address: tuple[Any, ...] | None = peername if isinstance(peername, tuple) else None
    # getpeername(2) fails for a TCP client that has reset already; that of IPv6 has four parts.
    host = UNIX if sock.family == socket.AF_UNIX else "" if address is None else address[0]
    is_trusted = bool(host) and trusted.includes(host)
    return Peer(
        shown=named or (authority(*address[:2]) if address else host or GONE),
        is_gone=not host,
        is_trusted=is_trusted,
        forwards=trusted.includes(host_of(named)) if named else is_trusted,
        is_direct=not (named or is_trusted or host == UNIX),
    )


class ClientResolver:
    """Finds the client behind trusted proxies; also called by the compiled answers from memory."""

    def __init__(self, trusted: Trusted) -> None:
        """Believe those whom `trusted` includes."""
        self._trusted = trusted
        self._find = functools.lru_cache(REMEMBERED)(self._look)

    def __call__(self, forwarded_for: bytes | None, forwarded: bytes | None) -> bytes:
        """Return the client named by X-Forwarded-For and Forwarded as the log has it; b"" if there is none.

        Of two fields that disagree the proxy has written one and the client the other, so neither counts.
        """
        if forwarded_for is None and forwarded is None:
            return b""
        return self._find(_end(forwarded_for), _end(forwarded))

    def _look(self, forwarded_for: bytes | None, forwarded_: bytes | None) -> bytes:
        named = []
        if forwarded_for is not None:
            named.append(self._nearest(forwarded.forwarded_for(forwarded_for)))
        if forwarded_ is not None:
            named.append(self._nearest(forwarded.forwarded(forwarded_)))
        first, last = named[0], named[-1]
        if first is None or last is None or first.host != last.host:
            return b""
        return max(first.shown, last.shown, key=len).encode()  # one of them may know the port

    def _nearest(self, nodes: Iterable[Node | None]) -> Node | None:
        """Return the first that is no proxy of ours, else the farthest; None if the way to it is unclear."""
        found = None
        for node in nodes:
            found = node
            if node is None or not self._trusted.includes(node.host):
                break
        return found


def _end(value: bytes | None) -> bytes | None:
    return None if value is None else value[-forwarded.MOST_BYTES :]
