"""Accepted sockets on their way to a `HttpProtocol`: a proxy's header is read, a TLS handshake made.

Only listeners that need it come here; a plain one is accepted from by the loop itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from hmacfs.connection.channel import TlsChannel
from hmacfs.connection.protocol import HttpProtocol
from hmacfs.http import proxy
from hmacfs.metrics import catalogue
from hmacfs.policy.trusted_proxies import UNIX

if TYPE_CHECKING:
    from hmacfs.connection.context import WorkerContext

# Others first: so many are accepted in one turn of the loop.
ACCEPTED_PER_TURN: Final = 16
# How long accepting rests when descriptors or memory have run out; else the loop would spin.
ACCEPT_BACKOFF_S: Final = 0.1
# uvloop wants more than nothing for a client to answer our close_notify.
LEAST_SHUTDOWN_S: Final = 0.1
# Handshakes that a worker makes at once. Each takes 40 kB of memory, a client that has sent nothing yet 3.
MOST_HANDSHAKES: Final = 256
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts from listening sockets and keeps each client until it is known who that is."""

    def __init__(self, service: WorkerContext, *, proxied: bool) -> None:
        """Bring clients to `service`; `proxied`: trusted peers begin with a PROXY header."""
        self._service = service
        self._loop = service.loop
        self._proxied = proxied
        self._listening: dict[socket.socket, bool] = {}  # and whether its clients speak TLS
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: dict[asyncio.Task[Any], None] = {}  # the oldest first

    @property
    def busy(self) -> bool:
        """Whether somebody is still on the way in."""
        return bool(self._tasks)

    def listen(self, sock: socket.socket, *, tls: bool) -> None:
        """Accept from `sock`, which listens and does not block, until `drain`."""
        self._listening[sock] = tls
        self._loop.add_reader(sock, self._accept, sock)

    def drain(self) -> None:
        """Accept what the kernel has queued, and no more; the sockets stay open, they are the caller's."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            while self._accept(sock):
                pass
        self._listening.clear()

    def abandon(self) -> None:
        """Turn away whoever is still on the way in."""
        for task in self._tasks:
            task.cancel()

    def _accept(self, sock: socket.socket) -> bool:
        """Accept a turn's worth; False if no more can be had for now."""
        for _ in range(ACCEPTED_PER_TURN):
            try:
                client = sock.accept()[0]
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause_accepting(sock)
                    return False
                continue  # accept(2): what went wrong with one client is no fault of the next
            self._admit(client, tls=self._listening[sock])
        return True

    def _pause_accepting(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock)
        self._loop.call_later(ACCEPT_BACKOFF_S, self._resume_accepting, sock)

    def _resume_accepting(self, sock: socket.socket) -> None:
        if sock in self._listening:
            self._loop.add_reader(sock, self._accept, sock)

    def _admit(self, sock: socket.socket, *, tls: bool) -> None:
        """Bring an accepted socket to its `HttpProtocol`, or close it."""
        service = self._service
        if service.is_crowded(len(self._tasks) + len(service.connections)):
            sock.close()  # no time for an answer: each that waits holds a descriptor
            return
        sock.setblocking(False)
        task = self._loop.create_task(self._establish(sock, tls=tls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _establish(self, sock: socket.socket, *, tls: bool) -> None:
        peer = _peer(sock)
        try:
            client = await self._client(sock) if self._proxied and self._trusts(peer) else ""
        except (proxy.Malformed, TimeoutError) as error:
            sock.close()
            self._service.row.add(catalogue.PROXY_HEADER_ERRORS)
            self._service.log.event("warn", "proxy-header-bad", peer=peer, error=str(error) or "too slow")
        except OSError:  # it is gone
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            await (self._start_tls(sock, client or peer, client) if tls else self._connect(sock, client))

    async def _connect(self, sock: socket.socket, client: str) -> None:
        with contextlib.suppress(OSError):  # it is gone
            await self._loop.connect_accepted_socket(
                functools.partial(HttpProtocol, self._service, client), sock
            )

    async def _start_tls(self, sock: socket.socket, shown: str, client: str) -> None:
        service = self._service
        try:
            await self._first_byte(sock)
            await self._handshake(sock, client)
        except OSError as error:  # ssl.SSLError is one, and so are a timeout and a client that is gone
            service.row.add(catalogue.TLS_HANDSHAKE_ERRORS)
            words = (isinstance(error, ssl.SSLError) and error.reason) or str(error) or type(error).__name__
            service.log.event("info", "tls-handshake-failed", client=shown, error=words)

    async def _first_byte(self, sock: socket.socket) -> None:
        """Wait until the client has sent something: before that it is not worth OpenSSL's memory.

        Raises TimeoutError.
        """
        limit_s = self._service.timeouts.headertimeout_s
        try:
            async with asyncio.timeout(limit_s):
                await _readable(self._loop, sock)
        except TimeoutError:
            sock.close()
            raise TimeoutError(f"the client has sent nothing for longer than {limit_s:g} seconds") from None
        except BaseException:
            sock.close()
            raise

    async def _handshake(self, sock: socket.socket, client: str) -> None:
        """Make a handshake, in place of the oldest one if there are too many. Raises OSError."""
        if len(self._handshakes) >= MOST_HANDSHAKES:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        service = self._service
        made = self._loop.create_task(
            self._loop.connect_accepted_socket(
                functools.partial(HttpProtocol, service, client, TlsChannel),
                sock,
                ssl=service.tls,
                ssl_handshake_timeout=service.timeouts.headertimeout_s,
                ssl_shutdown_timeout=max(service.timeouts.linger_s, LEAST_SHUTDOWN_S),
            )
        )
        self._handshakes[made] = None
        try:
            await made
        except asyncio.CancelledError:
            if made in self._handshakes:  # this server is ending
                raise
            raise ConnectionAbortedError("too many others have begun a handshake since") from None
        finally:
            self._handshakes.pop(made, None)

    def _trusts(self, peer: str) -> bool:
        return bool(peer) and self._service.trusted.includes(peer)

    async def _client(self, sock: socket.socket) -> str:
        """Return the client that a trusted proxy names. Raises Malformed, TimeoutError, OSError."""
        async with asyncio.timeout(self._service.timeouts.headertimeout_s):
            return (await read_header(self._loop, sock)).client


async def read_header(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> proxy.Header:
    """Read a PROXY header from `sock` and not a byte more: what follows may be a TLS handshake.

    Raises Malformed, ConnectionResetError if the peer closes before its first byte.
    """
    held = b""
    while True:
        try:
            seen = sock.recv(proxy.MOST_BYTES - len(held), socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(loop, sock)
            continue
        if not seen:
            if held:
                raise proxy.Malformed("it breaks off")
            raise ConnectionResetError  # a health check that only connects
        header = proxy.parse(held + seen)
        held += sock.recv(len(seen) if header is None else header.length - len(held))
        if header is not None:
            return header


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    woken = asyncio.Event()
    loop.add_reader(sock, woken.set)
    try:
        await woken.wait()
    finally:
        loop.remove_reader(sock)


def _peer(sock: socket.socket) -> str:
    """Return the peer's address without its port, or "unix"; "" if it is gone already."""
    if sock.family == socket.AF_UNIX:
        return UNIX
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""
