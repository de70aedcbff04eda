"""The listener for operators: /metrics, /livez and /readyz. Never the public one.

Runs on threads of the supervisor, so that a scrape costs no worker's loop a turn. Knows nothing of what
makes the server ready: it asks.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from hmacfs import unixsocket
from hmacfs.model import READ_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client import CollectorRegistry

REQUEST_TIMEOUT_S: Final = 10.0
"""How long an operator's connection may last, from its acceptance to the last byte of the answer."""
# A scraper, two probes and a person with a browser need four; more is somebody else, or a scraper in trouble.
MOST_THREADS: Final = 16
# How long a thread takes to end whose connection has been cut.
CUT_S: Final = 1.0

SOCKET_MODE: Final = 0o660
"""Of a unix socket: the service's user and group."""


class ReadinessCheck(NamedTuple):
    """One thing that must hold for the server to be ready."""

    name: str
    """Short and stable: "disk", "storage", "draining"."""
    ok: bool
    words: str = ""
    """What is wrong, or what was found."""


def application(
    registry: CollectorRegistry, live: Callable[[], bool], ready: Callable[[], list[ReadinessCheck]]
) -> WSGIApplication:
    """Return the WSGI application that answers operators' GET and HEAD.

    `live` and `ready` are asked at each probe, on a thread of the listener. What is not ready is always
    said; with ?verbose, what is ready too. The lines are those of Kubernetes' API server.
    """
    scrape = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in READ_METHODS:
            return _say(
                start_response,
                method,
                HTTPStatus.METHOD_NOT_ALLOWED,
                "only GET and HEAD\n",
                ("Allow", "GET, HEAD"),
            )
        match environ["PATH_INFO"]:
            case "/metrics":
                body: Iterable[bytes] = scrape({**environ, "REQUEST_METHOD": "GET"}, start_response)
                return body if method == "GET" else ()
            case "/livez":
                alive = live()
                status = HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE
                return _say(start_response, method, status, "ok\n" if alive else "failed\n")
            case "/readyz":
                query = environ.get("QUERY_STRING", "").split("&")
                verbose = any(part.partition("=")[0] == "verbose" for part in query)
                return _say(start_response, method, *_readiness(ready(), verbose=verbose))
            case _:
                words = "here are /metrics, /livez and /readyz\n"
                return _say(start_response, method, HTTPStatus.NOT_FOUND, words)

    return answer


def _say(
    start_response: StartResponse, method: str, status: HTTPStatus, text: str, *fields: tuple[str, str]
) -> Iterable[bytes]:
    body = text.encode("utf-8", "backslashreplace")
    start_response(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *fields,
        ],
    )
    return () if method == "HEAD" else (body,)


def _readiness(checks: list[ReadinessCheck], *, verbose: bool) -> tuple[HTTPStatus, str]:
    if all(check.ok for check in checks):
        lines = [_line(check) for check in checks] if verbose else []
        lines.append("readyz check passed" if verbose else "ok")
        return HTTPStatus.OK, "\n".join(lines) + "\n"
    lines = [_line(check) for check in checks if verbose or not check.ok]
    return HTTPStatus.SERVICE_UNAVAILABLE, "\n".join([*lines, "readyz check failed"]) + "\n"


def _line(check: ReadinessCheck) -> str:
    words = " ".join(check.words.split())
    if check.ok:
        return f"[+]{check.name} ok" + (f": {words}" if words else "")
    return f"[-]{check.name} failed" + (f": {words}" if words else "")


class _Request(WSGIRequestHandler):
    """One operator's request; quiet, since probes come every few seconds."""

    server_version = "hmacfs"
    sys_version = ""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class AdminServer(ThreadingMixIn, WSGIServer):
    """The bound listener; `server_port` tells the port (0 on a unix socket). `stop` ends it.

    So that nobody keeps others from /livez and /readyz, a connection that comes when all threads are taken
    takes the place of the oldest one. A probe sends its few bytes at once and is answered before its turn to
    go would come.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Bind `address`: "host:port", "[v6]:port" or "unix:/path". Raises OSError and ValueError."""
        self._path = address.removeprefix("unix:") if address.startswith("unix:") else ""
        self._name: unixsocket.Name | None = None
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._begun: dict[socket.socket, float] = {}  # connections that have a thread, the oldest first
        self._free = threading.BoundedSemaphore(MOST_THREADS)
        self._thread = threading.Thread(target=self.serve_forever, name="hmacfs-admin", daemon=True)
        if self._path:
            self.address_family = socket.AF_UNIX
            super().__init__((self._path, 0), _Request)  # `server_bind` takes the path
            return
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        # As on all listeners: ":port" and "[::]:port" are every address of both families.
        if host in {"", "::"}:
            host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - as asked for
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, int(port)), _Request)

    def server_bind(self) -> None:
        """Bind without the base class's look-up of the host's name, which may wait for a DNS server."""
        if self._path:
            self._name = unixsocket.bind(self.socket, self._path, SOCKET_MODE)
            self.server_name, self.server_port = "localhost", 0
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.server_address[0] == "::":
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection; over a unix socket the peer has no address, which the base class expects."""
        request, address = self.socket.accept()
        return request, address or ("unix", 0)

    @property
    def name(self) -> str:
        """The address as a person would write it, with the real port."""
        if self._path:
            return f"unix:{self._path}"
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"{host}:{self.server_port}"

    def start(self) -> None:
        """Answer on a daemon thread from now on; once is enough."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop listening; requests under way end by themselves."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        if self._name is not None:
            unixsocket.remove(self._name)

    def service_actions(self) -> None:
        """Cut the connections whose time is over; called every half second (socketserver)."""
        now = time.monotonic()
        with self._lock:
            for request, begun in self._begun.items():
                if now - begun > self._timeout_s:
                    _cut(request)

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Answer on a thread of its own, in place of the oldest one if too many are busy."""
        assert isinstance(request, socket.socket)
        if not self._free.acquire(blocking=False) and not self._take_place():
            self.shutdown_request(request)
            return
        with self._lock:
            self._begun[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._end(request)
            raise

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Answer, then make room for the next."""
        assert isinstance(request, socket.socket)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._end(request)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """End a connection, which may not be cut from here on."""
        with self._lock:
            self._begun.pop(request, None)  # type: ignore[arg-type] # a socket, since this is TCP
        super().shutdown_request(request)

    def _take_place(self) -> bool:
        """Cut the oldest connection; give whether its thread has ended."""
        with self._lock:
            oldest = next(iter(self._begun), None)
            if oldest is not None:
                _cut(oldest)
        return self._free.acquire(timeout=CUT_S)

    def _end(self, request: socket.socket) -> None:
        with self._lock:
            self._begun.pop(request, None)
        self._free.release()

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Pass over an operator who hung up or fell silent; anything else is a fault to be seen."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _cut(request: socket.socket) -> None:
    """Have the thread that reads from a connection, or writes to it, find its end."""
    with contextlib.suppress(OSError):  # the client has done so
        request.shutdown(socket.SHUT_RDWR)


def listen(address: str, app: WSGIApplication, *, timeout_s: float = REQUEST_TIMEOUT_S) -> AdminServer:
    """Bind `address`, answer with `app` on a daemon thread and give the server, bound and running.

    Raises OSError if the address cannot be bound, ValueError if it is none.
    """
    server = AdminServer(address, timeout_s=timeout_s)
    server.set_app(app)
    server.start()
    return server
