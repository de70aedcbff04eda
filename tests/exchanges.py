"""Connections to one server over every listener, and requests that break off in the middle."""

from __future__ import annotations

import contextlib
import enum
import itertools
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import selfsigned
import serving
import tls_records
from serving import Answer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from upload_protocols import Answers, Request, Round

PROXY = "127.0.0.2"
"""Address of the only trusted proxy; other clients connect from 127.0.0.1."""
V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
    + struct.pack(">H", 12)
    + socket.inet_aton("192.0.2.8")
    + socket.inet_aton("192.0.2.1")
    + struct.pack(">HH", 50001, 443)
)
# How long a client waits for bytes: longer than the server is ever to be silent.
PATIENCE_S = 45.0
SEEN_BYTES = 64 * 1024
"""So much of a body is sent at once where others are sent at the same time."""
_RESET = struct.pack("ii", 1, 0)


class Way(enum.Enum):
    """Over which listener, and what comes before the first request."""

    PLAIN = "plain"
    UNIX = "unix"
    PROXY_V1 = "proxy v1"
    PROXY_V2 = "proxy v2"
    TLS = "tls"
    TLS_BEHIND_PROXY = "tls behind a proxy"

    @property
    def secure(self) -> bool:
        """Whether it is TLS."""
        return self in {Way.TLS, Way.TLS_BEHIND_PROXY}


WAYS = list(Way)


class BrokenError(Exception):
    """The connection ended, or was ended, before there was a whole answer."""

    def __init__(self, got: Answer | None = None) -> None:
        """Hold what there was of an answer."""
        super().__init__("the connection broke")
        self.got = got


class Link:
    """One connection."""

    def __init__(self, sock: socket.socket, way: Way) -> None:
        """Own `sock`."""
        self.sock = sock
        self.way = way
        self.usable = True
        self._data = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all. Raises OSError."""
        self.sock.sendall(data)

    def finish(self) -> None:
        """Say that nothing more comes, as TCP does."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the server is told at once, and what is on its way is lost."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        """Close."""
        self.usable = False
        with contextlib.suppress(OSError):
            self.sock.close()

    def read(self, method: str = "GET") -> Answer:
        """Return the next answer, interim ones aside.

        Raises BrokenError with what there was; TimeoutError if nothing comes for too long.
        """
        while True:
            answer = self._read(method)
            if answer.status >= 200:
                if answer.fields.get("connection") == "close":
                    self.usable = False
                return answer

    def _read(self, method: str) -> Answer:
        while b"\r\n\r\n" not in self._data:
            if not self._more():
                raise BrokenError
        top, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/1.1 "), f"no answer: {top[:200]!r}"
        status = int(first.split(" ")[1])
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(fields.get("content-length", 0))
        if method == "HEAD" or status in {204, 304} or status < 200:
            length = 0
        body = bytearray(self._data)
        while len(body) < length:
            self._data = b""
            if not self._more():
                raise BrokenError(Answer(status, fields, bytes(body)))
            body += self._data
        self._data = bytes(body[length:])
        return Answer(status, fields, bytes(body[:length]))

    def _more(self) -> bool:
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        self._data += data
        return bool(data)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A server with all of its listeners."""

    server: serving.Server
    unix: str
    certificate: Path
    tls_port: int = field(init=False)
    trust: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tls_port", selfsigned.port_of(self.server))
        object.__setattr__(self, "trust", ssl.create_default_context(cafile=str(self.certificate)))

    def connect(self, way: Way) -> Link:
        """Open a connection. Raises OSError."""
        if way is Way.UNIX:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE_S)
            sock.connect(self.unix)
            return Link(sock, way)
        proxied = way in {Way.PROXY_V1, Way.PROXY_V2, Way.TLS_BEHIND_PROXY}
        sock = socket.create_connection(
            ("127.0.0.1", self.tls_port if way.secure else self.server.port),
            timeout=PATIENCE_S,
            source_address=(PROXY if proxied else "127.0.0.1", 0),
        )
        try:
            if proxied:
                sock.sendall(V2 if way is Way.PROXY_V2 else V1)
            if way.secure:
                # Not as it is wrapped: then a handshake that fails leaves it open.
                sock = self.trust.wrap_socket(
                    sock, server_hostname=selfsigned.NAME, do_handshake_on_connect=False
                )
                sock.do_handshake()
        except BaseException:
            sock.close()
            raise
        return Link(sock, way)


class Cut(enum.Enum):
    """How a connection ends in the middle of a request."""

    RESET = "reset"
    HALF = "half-closed"
    CLOSE = "closed"
    STALL = "left open"


@dataclass
class Client:
    """Somebody who makes requests, over connections that break or are kept, as chance has it."""

    site: Site
    chance: random.Random
    ways: list[Way] = field(default_factory=lambda: WAYS)
    breaks: float = 0.2
    """Share of the requests with a body that are cut off."""
    cuts: dict[Cut, int] = field(default_factory=lambda: dict.fromkeys(Cut, 0))
    _kept: Link | None = None
    _stalled: list[Link] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()
        self.let_go()

    def let_go(self) -> None:
        """End the connections that were left open."""
        while self._stalled:
            self._stalled.pop().close()

    def make(self, asked: Round) -> Answers:
        """Make requests; None for each without a whole answer."""
        if asked.pipelined:
            return self._pipeline(asked.requests)
        if len(asked.requests) == 1:
            return (self._single(asked.requests[0]),)
        return self._together(asked.requests)

    def _link(self) -> Link | None:
        kept, self._kept = self._kept, None
        if kept is not None:
            if kept.usable and self.chance.random() < 0.7:
                return kept
            kept.close()
        try:
            return self.site.connect(self.chance.choice(self.ways))
        except OSError:  # of a worker that was killed, or by a fault
            return None

    def _keep(self, link: Link) -> None:
        if link.usable and self._kept is None:
            self._kept = link
        else:
            link.close()

    def _single(self, request: Request) -> Answer | None:
        link = self._link()
        if link is None:
            return None
        if request.body and self.chance.random() < self.breaks:
            self._cut(link, request)
            return None
        with contextlib.suppress(OSError):  # the answer may be there all the same
            link.send(request.head)
            for piece in self._pieces(request.body):
                link.send(piece)
            if request.body and not link.way.secure and self.chance.random() < 0.2:
                link.finish()
                link.usable = False
        return self._answer(link, request)

    def _answer(self, link: Link, request: Request) -> Answer | None:
        try:
            answer = link.read(request.method)
        except TimeoutError as error:
            link.close()
            raise TimeoutError(f"{request.method} {request.target} ({link.way.value})") from error
        except (OSError, BrokenError):
            link.close()
            return None
        except BaseException:
            link.close()
            raise
        self._keep(link)
        return serving.resolved(request.target, answer)

    def _pieces(self, body: bytes) -> list[bytes]:
        """Cut a body into few pieces, or leave it whole."""
        if len(body) < 2 or self.chance.random() < 0.5:
            return [body]
        cuts = sorted(self.chance.randint(1, len(body)) for _ in range(self.chance.randint(1, 4)))
        return [body[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(body)])]

    def _cut(self, link: Link, request: Request) -> None:
        """Send only a part of a body, or all of it, and be gone before there is an answer."""
        sent = self.chance.choice((self.chance.randint(0, len(request.body)), len(request.body)))
        how = self.chance.choice(list(Cut))
        if link.way.secure and how is Cut.HALF:
            how = Cut.CLOSE
        self.cuts[how] += 1
        with contextlib.suppress(OSError):
            link.send(request.head + request.body[:sent])
            if how is Cut.HALF:
                link.finish()
        if how is Cut.STALL:
            self._stalled.append(link)
        elif how is Cut.HALF:
            with contextlib.suppress(OSError, BrokenError):
                link.read(request.method)
            link.close()
        elif how is Cut.RESET:
            link.reset()
        else:
            link.close()

    def _together(self, requests: tuple[Request, ...]) -> Answers:
        """Send several requests over as many connections, piece by piece in turn."""
        links = [self._link() for _ in requests]
        pieces: list[list[bytes]] = [
            [
                request.head,
                *(request.body[at : at + SEEN_BYTES] for at in range(0, len(request.body), SEEN_BYTES)),
            ]
            for request in requests
        ]
        for turn in itertools.zip_longest(*pieces):
            for link, piece in zip(links, turn, strict=True):
                if link is not None and piece:
                    with contextlib.suppress(OSError):
                        link.send(piece)
        with contextlib.ExitStack() as if_one_fails:
            for link in links:
                if link is not None:
                    if_one_fails.callback(link.close)
            answers = tuple(
                None if link is None else self._answer(link, request)
                for link, request in zip(links, requests, strict=True)
            )
            if_one_fails.pop_all()
        return answers

    def _pipeline(self, requests: tuple[Request, ...]) -> Answers:
        """Send all on a connection of their own, end the sending side, and read the answers."""
        try:
            link = self.site.connect(self.chance.choice([way for way in self.ways if not way.secure]))
        except OSError:
            return tuple(None for _ in requests)
        with link:
            with contextlib.suppress(OSError):
                link.send(b"".join(request.head + request.body for request in requests))
                link.finish()
            answers: list[Answer | None] = []
            for request in requests:
                try:
                    answers.append(link.read(request.method))
                except (OSError, BrokenError):
                    break
        return (*answers, *(None for _ in range(len(requests) - len(answers))))


def get_with_split_key_update(
    site: Site, request: bytes, where: Path, meanwhile: Callable[[], None]
) -> Answer | None:
    """Make a request over TLS 1.3; a KeyUpdate comes in two records, with `meanwhile` between them.

    Gives None if the connection breaks. Raises OSError as `Site.connect` does, and TimeoutError.
    """
    keylog = where / f"keylog-{threading.get_ident()}"
    keylog.unlink(missing_ok=True)
    trust = ssl.create_default_context(cafile=str(site.certificate))
    trust.minimum_version = ssl.TLSVersion.TLSv1_3
    trust.keylog_filename = str(keylog)
    raw = socket.create_connection(("127.0.0.1", site.tls_port), timeout=PATIENCE_S)
    with raw, trust.wrap_socket(raw, server_hostname=selfsigned.NAME) as sock, Link(sock, Way.TLS) as link:
        records = tls_records.Records(tls_records.client_secret(keylog))
        first, last = tls_records.KEY_UPDATE[:-1], tls_records.KEY_UPDATE[-1:]
        begun = records.write(tls_records.APPLICATION_DATA, request)
        socket.socket.sendall(sock, begun + records.write(tls_records.HANDSHAKE, first))
        meanwhile()
        try:
            socket.socket.sendall(sock, records.write(tls_records.HANDSHAKE, last))
            return link.read()
        except BrokenError:
            return None
