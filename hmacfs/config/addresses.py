"""Listening addresses: text to host and port, or to the path of a unix socket. Opens nothing."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple, TypeAlias

WORDS: Final = '"host:port", ":port", "[IPv6]:port" or "unix:/path"'

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TCP: Final = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_PORT_MOST: Final = 65_535
_SOCKET_PATH_MOST: Final = 107  # bytes of sun_path without its NUL, unix(7)
EVERY: Final = ("", "::")
"""Hosts that mean every address of both families."""
_ANY_HOST: Final = (*EVERY, "0.0.0.0")  # noqa: S104 - recognised here, never bound


class Tcp(NamedTuple):
    """A TCP address."""

    host: str
    """IPv4, IPv6 without brackets, a name, or "" for every address."""
    port: int
    """0: the system chooses."""


class Unix(NamedTuple):
    """A unix socket."""

    path: str
    """Absolute path."""


Address: TypeAlias = Tcp | Unix


def parse(text: str) -> Address:
    """Make an address of `text`; ValueError says what to write instead."""
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError(_advice(text))
    port = int(match["port"])
    if port > _PORT_MOST:
        raise ValueError(f"a port up to {_PORT_MOST}")
    if match["six"] is not None:
        if not _is_ip(match["six"], 6):
            raise ValueError("an IPv6 address between the brackets")
        return Tcp(match["six"], port)
    host = match["host"]
    if host and not _is_ip(host, 4) and (len(host) > 253 or not _NAME.fullmatch(host) or _is_dotted(host)):  # noqa: PLR2004 - RFC 1035 2.3.4
        raise ValueError("an IPv4 address, a host name or nothing before the colon")
    return Tcp(host, port)


def overlap(one: Address, other: Address) -> bool:
    """Tell whether the two would want the same socket; port 0 never does."""
    if isinstance(one, Unix) or isinstance(other, Unix):
        return one == other
    if one.port != other.port or one.port == 0:
        return False
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    return len(hosts) == 1 or any(host in _ANY_HOST for host in hosts)


def collide(one: Address, other: Address) -> bool:
    """Tell whether one server cannot listen on both: "0.0.0.0" and "[::]" with one port it can."""
    if not isinstance(one, Tcp) or not isinstance(other, Tcp) or not overlap(one, other):
        return one == other
    if not one.host or not other.host:
        return True
    return (":" in one.host) == (":" in other.host)


def _unix(path: str) -> Unix:
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError('an absolute path after "unix:"')
    if not path.isprintable() or len(path.encode()) > _SOCKET_PATH_MOST:
        raise ValueError(f"a printable path of at most {_SOCKET_PATH_MOST} bytes")
    return Unix(path)


def _advice(text: str) -> str:
    """Say what to write instead of `text`, which is no address."""
    if text.isascii() and text.isdigit():
        return f'a host before the port: "127.0.0.1:{text}", or ":{text}" for every address'
    if text.startswith("/"):
        return f'"unix:{text}"'
    if text.count(":") > 1:
        return 'an IPv6 address in brackets: "[::1]:8080"'
    return WORDS


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _is_dotted(text: str) -> bool:
    """Tell whether `text` is only digits and dots, so that it was meant as an IPv4 address."""
    return text.replace(".", "").isdigit()
