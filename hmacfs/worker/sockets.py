"""The listening sockets of one worker: accepted from until it drains."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from hmacfs.listeners import BACKLOG

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hmacfs.connection import Acceptor, HttpProtocol
    from hmacfs.worker.messages import WorkerConfig


class ListeningSockets:
    """Inherited sockets. The loop accepts from plain ones; those with a header or TLS go by an `Acceptor`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        boot: WorkerConfig,
        acceptor: Acceptor,
        connect: Callable[[], HttpProtocol],
    ) -> None:
        """Own the listeners of `boot`; the loop has `connect` make the protocol of each client."""
        self._loop = loop
        self._sockets = [socket.socket(fileno=fd) for fd in boot.listeners]
        self._tls = boot.tls_listeners
        self._proxied = boot.settings.server.proxy_protocol
        self._acceptor = acceptor
        self._connect = connect
        self._servers: list[tuple[asyncio.Server, socket.socket]] = []
        self.accepting = True
        """Whether another client may still come."""

    async def open(self) -> None:
        """Accept from now on."""
        for sock in self._sockets:
            sock.setblocking(False)
            tls = sock.fileno() in self._tls
            if tls or self._proxied:
                self._acceptor.listen(sock, tls=tls)
            else:
                self._servers.append((await self._listen(sock), sock))

    async def drain(self) -> None:
        """Accept what the kernel has queued, since closing would reset it, and no more."""
        for server, sock in self._servers:
            server.close()
            while (client := _accept(sock)) is not None:
                with contextlib.suppress(OSError):  # it is gone
                    await self._loop.connect_accepted_socket(self._connect, client)
        self._acceptor.drain()
        for sock in self._sockets:
            sock.close()
        self.accepting = False

    async def _listen(self, sock: socket.socket) -> asyncio.Server:
        """Accept from a duplicate of `sock`: the loop closes what it is given."""
        if sock.family == socket.AF_UNIX:
            # As of Python 3.13 uvloop would remove the name, which is the supervisor's or systemd's.
            keep_name: dict[str, Any] = {"cleanup_socket": False}
            return await self._loop.create_unix_server(
                self._connect, sock=sock.dup(), backlog=BACKLOG, **keep_name
            )
        return await self._loop.create_server(self._connect, sock=sock.dup(), backlog=BACKLOG)


def _accept(sock: socket.socket) -> socket.socket | None:
    """Return the next connection queued on `sock`, None if there is none to be had."""
    while True:
        try:
            return sock.accept()[0]
        except ConnectionAbortedError:
            continue
        except OSError:  # an empty queue, usually
            return None
