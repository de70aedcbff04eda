"""The PROXY protocol, versions 1 and 2: the first bytes of a connection in, the client's address out.

haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. Whom to believe is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final, NamedTuple

from hmacfs.http.target import authority

V1_MOST_BYTES: Final = 107
"""The longest line of version 1, its CR LF included."""

MOST_BYTES: Final = 4096
"""The longest header taken, with what version 2 may add to the addresses (TLVs); nginx's bound, too."""

_V1: Final = b"PROXY "
_V1_ADDRESSES: Final = re.compile(
    r"(?P<family>TCP[46]) (?P<source>[0-9A-Fa-f:.]+) (?P<target>[0-9A-Fa-f:.]+)"
    r" (?P<port>0|[1-9][0-9]{0,4}) (?P<target_port>0|[1-9][0-9]{0,4})",
    re.ASCII,
)
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED_BYTES: Final = 16
_V2_VERSION: Final = 2
_LOCAL: Final = 0
_PROXY: Final = 1
_INET: Final = 1
_INET6: Final = 2
_UNIX: Final = 3
_LAST_TRANSPORT: Final = 2  # 0 unspecified, 1 stream, 2 datagram
_ADDRESS_BYTES: Final = {0: 0, _INET: 12, _INET6: 36, _UNIX: 216}
_PORT_MOST: Final = 65_535


class Malformed(ValueError):  # noqa: N818 - it names the bytes, as Wrong does a value
    """Raised for bytes that are no header; the words are for the log."""


class Header(NamedTuple):
    """A whole header."""

    length: int
    """Bytes of it: what follows is the client's."""
    client: str
    """Address and port of the client, or "unix"; "" if the proxy speaks for itself or does not know."""


def parse(data: bytes) -> Header | None:
    """Return the header at the start of `data`, None if it is not whole yet. Raises Malformed."""
    if data.startswith(_V2):
        return _v2(data)
    if data.startswith(_V1):
        return _v1(data)
    if _V1.startswith(data) or _V2.startswith(data):
        return None
    raise Malformed("it begins like neither version")


def _v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, V1_MOST_BYTES)
    if end < 0:
        if len(data) >= V1_MOST_BYTES:
            raise Malformed(f"no end of line within {V1_MOST_BYTES} bytes")
        return None
    try:
        line = data[len(_V1) : end].decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a line that is not ASCII") from None
    # What follows UNKNOWN must be ignored.
    if line == "UNKNOWN" or line.startswith("UNKNOWN "):
        return Header(end + 2, "")
    match = _V1_ADDRESSES.fullmatch(line)
    if match is None:
        raise Malformed("a line that is neither UNKNOWN nor two addresses and two ports")
    return Header(end + 2, _v1_client(match))


def _v1_client(match: re.Match[str]) -> str:
    kind = ipaddress.IPv4Address if match["family"] == "TCP4" else ipaddress.IPv6Address
    try:
        source, _ = kind(match["source"]), kind(match["target"])
    except ValueError:
        raise Malformed(f"an address that is not of {match['family']}") from None
    port = int(match["port"])
    if max(port, int(match["target_port"])) > _PORT_MOST:
        raise Malformed(f"a port above {_PORT_MOST}")
    return _named(source, port)


def _v2(data: bytes) -> Header | None:
    if len(data) < _V2_FIXED_BYTES:
        return None
    kind, family, rest = struct.unpack_from("!BBH", data, len(_V2))
    version, command = kind >> 4, kind & 15
    if version != _V2_VERSION or command not in (_LOCAL, _PROXY):
        raise Malformed(f"version {version} with command {command}")
    length = _V2_FIXED_BYTES + rest
    if length > MOST_BYTES:
        raise Malformed(f"more than {MOST_BYTES} bytes")
    if command == _PROXY:
        needed = _ADDRESS_BYTES.get(family >> 4)
        if needed is None or family & 15 > _LAST_TRANSPORT:
            raise Malformed(f"unknown address family {family:#04x}")
        if rest < needed:
            raise Malformed(f"{rest} bytes of addresses where {needed} are needed")
    if len(data) < length:
        return None
    return Header(length, _v2_client(data, family >> 4) if command == _PROXY else "")


def _v2_client(data: bytes, family: int) -> str:
    if family == _INET:
        source, _, port = struct.unpack_from("!4s4sH", data, _V2_FIXED_BYTES)
        return _named(ipaddress.IPv4Address(source), port)
    if family == _INET6:
        source, _, port = struct.unpack_from("!16s16sH", data, _V2_FIXED_BYTES)
        return _named(ipaddress.IPv6Address(source), port)
    return "unix" if family == _UNIX else ""


def _named(source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped is not None:
        source = source.ipv4_mapped
    return authority(str(source), port)
