"""Listening sockets, made once by the supervisor and inherited by every worker, now and later.

Each worker slot has a socket of its own per TCP address, in one SO_REUSEPORT group, so that the
kernel spreads connections evenly; the supervisor keeps all of them open, so that what is queued for
a dead worker waits for its successor. A unix socket, and one from systemd, is shared by all.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
from typing import TYPE_CHECKING, NamedTuple

from hmacfs.config import addresses
from hmacfs.config.addresses import Unix
from hmacfs.http.target import authority
from hmacfs.worker import BACKLOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmacfs.config.settings import Server, Settings


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

    def of(self, slot: int) -> socket.socket:
        """Give the socket that the worker in `slot` accepts from."""
        return self.sockets[slot % len(self.sockets)]


def open_all(settings: Settings, slots: int, inherited: Sequence[int]) -> list[Listener]:
    """Listen on every configured address; sockets that systemd passed stand in for those of [server].

    Raises ListenError.
    """
    server = settings.server
    opened = [_adopted(socket.socket(fileno=fd)) for fd in inherited]
    plain = () if inherited else server.listen_address
    wanted = [(text, False) for text in plain] + [(text, True) for text in settings.tls.listen_address]
    with contextlib.ExitStack() as undo:
        for text, tls in wanted:
            try:
                address = addresses.parse(text)
                if isinstance(address, Unix):
                    found = [_unix(address.path, server)]
                else:
                    found = _tcp(address.host, address.port, slots)
            except OSError as error:
                raise ListenError(f"cannot listen on {text}: {error.strerror or error}") from error
            if tls:
                found = [one._replace(name=f"tls:{one.name}", tls=True) for one in found]
            opened += found
            undo.callback(close_all, found)
        undo.pop_all()
    return opened


def close_all(listeners: Sequence[Listener]) -> None:
    """Stop listening; a unix socket's name goes too, if it is ours."""
    for listener in listeners:
        if listener.name.startswith("unix:"):
            with contextlib.suppress(OSError):
                os.unlink(listener.name.removeprefix("unix:"))  # noqa: PTH108 - a socket, not a file
        for sock in listener.sockets:
            sock.close()


def _adopted(sock: socket.socket) -> Listener:
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return Listener(f"systemd:{sock.getsockname()}", (sock,))
    return Listener(_name(sock), (sock,))


def _tcp(host: str, port: int, slots: int) -> list[Listener]:
    found = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    listeners = []
    for family, place in dict.fromkeys((entry[0], entry[4]) for entry in found):
        # Without SO_REUSEPORT first: with it, a second server of the same user would share the
        # port unnoticed and take half of the requests.
        with _bound(family, place, shared=False) as probe:
            real = probe.getsockname()
        sockets = tuple(_bound(family, real, shared=slots > 1) for _ in range(slots))
        for sock in sockets:
            sock.listen(BACKLOG)
        listeners.append(Listener(_name(sockets[0]), sockets))
        if port == 0:
            break  # another family would get another port
    return listeners


def _bound(family: int, place: object, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)  # type: ignore[arg-type] # getaddrinfo's own tuple
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _unix(path: str, server: Server) -> Listener:
    """Listen on a unix socket; one that a crash left behind is replaced, one in use is not."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)  # noqa: PTH108 - a socket, not a file
            else:
                raise ListenError(f"another server listens on {path}")
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        mask = os.umask(0o777)  # nobody may connect before mode and group are right
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        undo.callback(os.unlink, path)
        if server.socket_group:
            os.chown(path, -1, _group(server.socket_group))
        os.chmod(path, server.socket_mode)  # noqa: PTH101 - a socket, not a file
        sock.listen(BACKLOG)
        sock.setblocking(False)
        undo.pop_all()
    return Listener(f"unix:{path}", (sock,))


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ListenError(f"there is no group {name!r}") from error


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return authority(host, port)
