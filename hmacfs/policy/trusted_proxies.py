"""Which peers are our own proxies: what they say of a client is believed, what others say is not."""

from __future__ import annotations

import ipaddress
from typing import Final

UNIX: Final = "unix"
"""The word for every peer on a unix socket."""


class Trusted:
    """A list of networks, asked once for each connection."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """Trust peers in `networks` (CIDR) and, if "unix" is among them, on unix sockets."""
        self._unix = UNIX in networks
        self._networks = [ipaddress.ip_network(text) for text in networks if text != UNIX]

    def includes(self, host: str) -> bool:
        """Whether the peer at `host`, an address or "unix", is trusted."""
        if host == UNIX:
            return self._unix
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # of a socket that systemd opened for both families
        return any(address in network for network in self._networks)
