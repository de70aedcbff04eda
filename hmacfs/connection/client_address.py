"""Whom our own proxies name as the client of a request; asked only where the peer is one of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from hmacfs.http import forwarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.http.forwarded import Node
    from hmacfs.policy.trusted_proxies import Trusted

# Requests of one client come together, and few clients are busy at once. Each entry holds at most 2 KiB.
REMEMBERED: Final = 1024


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
