"""Under which key a client is known: its owner's name or its network, as such or hashed.

A hash is keyed: without the key nobody finds out which of 2^32 addresses it is of.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Final

# An IPv4 address is one household, or a phone. Of IPv6 a household has a /64 at least, and its devices change
# the rest of the address every day (RFC 8981).
_NETWORK: Final = (1 << 128) - (1 << 64)
_KEY_BYTES: Final = 16


def key(host: str, owner: str, secret: bytes | None) -> bytes | None:
    """Return the key of `owner` ("" if unknown) at the address `host`; None if that is no address either.

    `secret`, of at most 64 bytes, hashes it; None leaves it readable.
    """
    name = f"owner {owner}" if owner else _network(host)
    if not name:
        return None
    if secret is None:
        return name.encode()
    return hashlib.blake2b(name.encode(), key=secret, digest_size=_KEY_BYTES).digest()


def derive(secret: bytes) -> bytes:
    """Return the key for hashes that follows from a site's secret and does not lead back to it."""
    return hashlib.blake2b(secret, digest_size=32, person=b"hmacfs clients").digest()


def _network(host: str) -> str:
    """Return the network that counts as one client, "" for what is no address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if isinstance(address, ipaddress.IPv4Address):
        return f"{address}/32"
    return f"{ipaddress.IPv6Address(int(address) & _NETWORK)}/64"
