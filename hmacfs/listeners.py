"""Listening sockets, made once by the supervisor and inherited by every worker, now and later.

Each worker slot has a socket of its own per TCP address, in one SO_REUSEPORT group, so that the
kernel spreads connections evenly; the supervisor keeps all of them open, so that what is queued for
a dead worker waits for its successor. A unix socket, and one from systemd, is shared by all.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from hmacfs import unixsocket
from hmacfs.config import addresses
from hmacfs.config.addresses import Tcp, Unix
from hmacfs.http.target import authority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmacfs.config.settings import Server, Settings

# A family, and host and port as that family has them.
Place: TypeAlias = tuple[int, tuple[Any, ...]]

BACKLOG: Final = 4096
"""Connections that the kernel queues for each socket; what has the loop accept must name it again."""
# What a machine without IPv6 says of it.
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
# How often another port is asked for until both families have the same.
_TRIES: Final = 8


class ListenError(Exception):
    """An address cannot be listened on; the words are for the operator."""


class Listener(NamedTuple):
    """One address and its sockets."""

    name: str
    """As a person would write it, with the real port."""
    sockets: tuple[socket.socket, ...]
    """One per worker slot, or one for all."""
    tls: bool = False
    """Whether its clients speak TLS."""
    path: unixsocket.Name | None = None
    """The name in the file system that is ours to remove."""

    def of(self, slot: int) -> socket.socket:
        """Return the socket that the worker in `slot` accepts from."""
        return self.sockets[slot % len(self.sockets)]


def open_all(settings: Settings, slots: int, inherited: Sequence[int]) -> list[Listener]:
    """Listen on every configured address; sockets that systemd passed stand in for those of [server].

    Raises ListenError.
    """
    server = settings.server
    opened = [_adopted(socket.socket(fileno=fd)) for fd in inherited]
    plain = () if inherited else server.listen_address
    wanted = [(text, False) for text in plain] + [(text, True) for text in settings.tls.listen_address]
    parsed = [addresses.parse(text) for text, _ in wanted]
    with contextlib.ExitStack() as undo:
        for (text, tls), address in zip(wanted, parsed, strict=True):
            try:
                if isinstance(address, Unix):
                    found = [_unix(address.path, server)]
                elif address.host in addresses.EVERY:
                    found = _everywhere(address, parsed, slots)
                else:
                    found = _tcp(_resolved(address), slots)
            except OSError as error:
                raise ListenError(f"cannot listen on {text}: {error.strerror or error}") from error
            if tls:
                found = [one._replace(name=f"tls:{one.name}", tls=True) for one in found]
            opened += found
            undo.callback(close_all, found)
        undo.pop_all()
    return opened


def close_all(listeners: Sequence[Listener]) -> None:
    """Stop listening; a unix socket's name goes too, if it is still ours."""
    for listener in listeners:
        if listener.path is not None:
            unixsocket.remove(listener.path)
        for sock in listener.sockets:
            sock.close()


def _adopted(sock: socket.socket) -> Listener:
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return Listener(f"systemd:{sock.getsockname()}", (sock,))
    return Listener(_name(sock), (sock,))


def bind(address: Tcp, others: Sequence[addresses.Address]) -> list[socket.socket]:
    """Return sockets bound to every place that `address` means beside `others`; nobody can connect there.

    Raises OSError.
    """
    if address.host not in addresses.EVERY:
        return [_bound(family, place, shared=False) for family, place in _resolved(address)]
    found = [] if _beside_ipv4(address, others) else [_bound(*_four(address.port), shared=False)]
    try:
        found.append(_bound(*_six(address.port), shared=False))
    except OSError as error:
        if not found or error.errno not in _NO_IPV6:
            for sock in found:
                sock.close()
            raise
    return found


def _resolved(address: Tcp) -> list[Place]:
    """Return family and place of each address that a host name or an IP address means."""
    found = socket.getaddrinfo(
        address.host,
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG,
    )
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))


def _beside_ipv4(address: Tcp, others: Sequence[addresses.Address]) -> bool:
    """Tell whether "[::]" stands beside an address of IPv4 with its port, so that it means IPv6 alone."""
    return bool(address.host) and any(
        isinstance(other, Tcp) and other.port == address.port and other.host and ":" not in other.host
        for other in others
    )


def _four(port: int) -> Place:
    return socket.AF_INET, ("0.0.0.0", port)  # noqa: S104 - as asked for


def _six(port: int) -> Place:
    return socket.AF_INET6, ("::", port)


def _everywhere(address: Tcp, others: Sequence[addresses.Address], slots: int) -> list[Listener]:
    """Listen on every address of both families; of IPv6 alone if "[::]" stands beside one of IPv4."""
    if _beside_ipv4(address, others):
        return _tcp([_six(address.port)], slots)
    for _ in range(_TRIES):
        found = _tcp([_four(address.port)], slots)
        port = found[0].sockets[0].getsockname()[1]
        try:
            return found + _tcp([_six(port)], slots)
        except OSError as error:
            if error.errno in _NO_IPV6:
                return found
            close_all(found)
            # Of a port that the system chose the other family may be taken.
            if address.port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free for IPv4 and IPv6")


def _tcp(places: Sequence[Place], slots: int) -> list[Listener]:
    listeners = []
    for family, address in places:
        # Without SO_REUSEPORT first: with it, a second server of the same user would share the
        # port unnoticed and take half of the requests.
        with _bound(family, address, shared=False) as probe:
            real = probe.getsockname()
        sockets = tuple(_bound(family, real, shared=slots > 1) for _ in range(slots))
        for sock in sockets:
            sock.listen(BACKLOG)
        listeners.append(Listener(_name(sockets[0]), sockets))
        if address[1] == 0:
            break  # another family would get another port
    return listeners


def _bound(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _unix(path: str, server: Server) -> Listener:
    """Listen on a unix socket; one that a crash left behind is replaced, one in use is not."""
    group = _group(server.socket_group) if server.socket_group else -1
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        name = unixsocket.bind(sock, path, server.socket_mode, group)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        undo.pop_all()
    return Listener(f"unix:{path}", (sock,), path=name)


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ListenError(f"there is no group {name!r}") from error


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return authority(host, port)
