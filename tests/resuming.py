"""Uploads over a network that breaks, in each language: clients on bare sockets, and what they repeat."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import jwt
import procfs
import serving

from hmacfs.model import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENDPOINTS = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""
TYPE = "video/mp4"
METADATA = "filename Zi5tcDQ=,filetype dmlkZW8vbXA0"
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


MOST_RANDOM = 64 * 2**20
"""Bytes that are made at once: Python gives fewer than 256 MiB."""


def body_of(seed: str, size: int) -> bytes:
    """Return bytes in which no two places look alike."""
    chance = random.Random(seed)
    pieces = (chance.randbytes(min(MOST_RANDOM, size - start)) for start in range(0, size, MOST_RANDOM))
    return b"".join(pieces)


def bearer(owner: str = "alice@chat.test") -> dict[str, str]:
    """Return the fields of somebody who may upload to /files/."""
    token = jwt.encode({"sub": owner, "exp": int(time.time() + serving.TTL_S)}, serving.SECRET, "HS256")
    return {"Authorization": f"Bearer {token}"}


class Client(Protocol):
    """One upload as a client of one language sees it."""

    rel: str
    """Where the file is in the end, below the storage."""

    def find(self, sock: socket.socket) -> Span | None:
        """Ask how far it is, or begin it; give the bytes of the next request, None if it is complete."""

    def head(self, span: Span) -> bytes:
        """Write the head of a request with these bytes."""

    def took(self, span: Span, answer: serving.Answer) -> Span | None:
        """Note the answer to a whole request; give the next one."""


def ask(
    sock: socket.socket, method: str, target: str, fields: dict[str, str], length: int | None = None
) -> serving.Answer:
    """Make a request without a body on a connection that stays."""
    sock.sendall(serving.head(method, target, fields, length))
    return serving.resolved(target, serving.read_answer(sock, method))


@dataclass
class Tus:
    """tus 1.0.0 at a collection."""

    size: int
    rel: str = ""
    target: str = ""
    fields: dict[str, str] = field(default_factory=lambda: {**bearer(), "Tus-Resumable": "1.0.0"})
    told: list[int] = field(default_factory=list)
    """Offsets as they were told."""

    def find(self, sock: socket.socket) -> Span | None:
        if not self.target:
            told = {"Upload-Length": str(self.size), "Upload-Metadata": METADATA}
            answer = ask(sock, "POST", "/files/", {**self.fields, **told}, 0)
            assert answer.status == 201, answer
            self.target = answer.fields["location"]
            self.rel = f"{self.target.removeprefix('/')}/f.mp4"
            return Span(0, self.size)
        answer = ask(sock, "HEAD", self.target, self.fields)
        assert answer.status == 200, answer
        return self._after(answer)

    def head(self, span: Span) -> bytes:
        told = {"Upload-Offset": str(span.start), "Content-Type": "application/offset+octet-stream"}
        return serving.head("PATCH", self.target, {**self.fields, **told}, span.length)

    def took(self, span: Span, answer: serving.Answer) -> Span | None:  # noqa: ARG002 - as all languages
        assert answer.status == 204, answer
        return self._after(answer)

    def _after(self, answer: serving.Answer) -> Span | None:
        self.told.append(int(answer.fields["upload-offset"]))
        return None if self.told[-1] == self.size else Span(self.told[-1], self.size)


@dataclass
class Ietf:
    """The IETF's draft at a slot."""

    size: int
    rel: str = ""
    target: str = ""
    begun: bool = False
    told: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = serving.fresh("f.mp4")
        self.rel = f"upload/{name}"
        self.target = serving.signed(name, self.size, TYPE)

    def find(self, sock: socket.socket) -> Span | None:
        if not self.begun:
            self.begun = True
            return Span(0, self.size)
        answer = ask(sock, "HEAD", self.target, {})
        if answer.status == 404:  # cut before it was begun
            self.begun = True
            return Span(0, self.size)
        if answer.status == 200:  # the file itself
            assert int(answer.fields["content-length"]) == self.size
            return None
        assert answer.status == 204, answer
        return self._after(answer)

    def head(self, span: Span) -> bytes:
        fields = {"Upload-Complete": "?1"}
        if not span.start:
            return serving.head("PUT", self.target, {**fields, "Content-Type": TYPE}, span.length)
        told = {"Upload-Offset": str(span.start), "Content-Type": "application/partial-upload"}
        return serving.head("PATCH", self.target, {**fields, **told}, span.length)

    def took(self, span: Span, answer: serving.Answer) -> Span | None:  # noqa: ARG002 - as all languages
        assert answer.status in {201, 204}, answer
        return self._after(answer)

    def _after(self, answer: serving.Answer) -> Span | None:
        self.told.append(int(answer.fields["upload-offset"]))
        return None if answer.fields["upload-complete"] == "?1" else Span(self.told[-1], self.size)


@dataclass
class Plain(Ietf):
    """A plain PUT to a slot, gone on with by Content-Range."""

    def head(self, span: Span) -> bytes:
        fields = {"Content-Type": TYPE}
        if span.start:
            fields["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{self.size}"
        return serving.head("PUT", self.target, fields, span.length)

    def took(self, span: Span, answer: serving.Answer) -> Span | None:
        assert answer.status == 201, answer
        self.told.append(span.stop)
        return None


@dataclass
class Chunked:
    """The Go server's chunks, one after the other."""

    size: int
    rel: str = ""
    session: str = ""
    chunk: int = 0
    done: int = 0
    """Chunks that were acknowledged."""
    told: list[int] = field(default_factory=list)

    def find(self, sock: socket.socket) -> Span | None:
        if not self.session:
            name = serving.fresh("f.mp4")
            self.rel = f"upload/{name}"
            self.query = serving.signed(name, self.size, TYPE).partition("?")[2]
            fields = {"X-Filename": name, "X-Total-Size": str(self.size), "Content-Type": TYPE}
            answer = ask(sock, "POST", f"/chunked-upload?{self.query}", fields, 0)
            assert answer.status == 201, answer
            told = json.loads(answer.body)
            self.session, self.chunk = told["session_id"], told["chunk_size"]
        return self._next()

    def head(self, span: Span) -> bytes:
        number = span.start // self.chunk
        fields = {"X-Upload-Session-ID": self.session, "X-Chunk-Number": str(number)}
        return serving.head("POST", f"/chunked-upload?{self.query}", fields, span.length)

    def took(self, span: Span, answer: serving.Answer) -> Span | None:
        assert answer.status == 200, answer
        self.done = span.start // self.chunk + 1
        self.told.append(span.stop)
        return self._next()

    def span(self, number: int) -> Span:
        """Return where a chunk lies."""
        start = number * self.chunk
        return Span(start, min(start + self.chunk, self.size))

    def _next(self) -> Span | None:
        return self.span(self.done) if self.done * self.chunk < self.size else None


class End(Protocol):
    """A way in which a connection ends."""

    def __call__(self, sock: socket.socket) -> None: ...


def reset(sock: socket.socket) -> None:
    """Both sides are told at once."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    sock.close()


def end(sock: socket.socket) -> None:
    """The server reads an end."""
    sock.close()


class Stall:
    """Nobody is told anything: the connection stays, and nothing comes."""

    def __init__(self) -> None:
        self.open: list[socket.socket] = []

    def __call__(self, sock: socket.socket) -> None:
        self.open.append(sock)


@dataclass(kw_only=True)
class Journey:
    """An upload over a network that breaks, and what that has cost."""

    storage: Path
    every: int
    """The connection ends whenever so many more bytes have come to the storage."""
    ends: Iterator[End]
    workers: tuple[int, ...] = ()
    """Processes in which a plain PUT may be, whose bytes have no name yet."""
    sent: int = 0
    """Bytes of the file, repeated ones too."""
    cuts: int = 0

    def carry(self, client: Client, body: bytes, connect: Callable[[], socket.socket]) -> None:
        """Upload `body`. What a worker has not read by the time of a cut is not what is looked at here."""
        left = self.every
        while True:
            sock = connect()
            span = client.find(sock)
            while span is not None:
                taken = min(span.length, left)
                sock.sendall(client.head(span) + body[span.start : span.start + taken])
                self.sent += taken
                left -= taken
                if not left and taken < span.length:
                    numbered = isinstance(client, Chunked)
                    wait_stored(self.storage, span.start + taken, self.workers, or_longer=numbered)
                    self.cuts += 1
                    next(self.ends)(sock)
                    left = self.every
                    break
                left = left or self.every
                span = client.took(span, serving.read_answer(sock, "PATCH"))
            else:
                sock.close()
                return


def wait_stored(storage: Path, size: int, workers: tuple[int, ...] = (), *, or_longer: bool = False) -> None:
    """Wait until an unfinished upload, or a plain PUT at one of `workers`, has so many bytes and no more.

    `or_longer`: the file may reach further, as where a chunk broke off.
    """
    deadline = time.monotonic() + serving.PATIENCE_S

    def has_come(path: Path) -> bool:
        try:
            found = path.stat().st_size
        except FileNotFoundError:  # it has got its name, or is gone
            return False
        return path.suffix != ".note" and (found == size or (or_longer and found > size))

    while not any(map(has_come, parts_of(storage))):
        if any(size in procfs.unnamed_sizes(worker, storage) for worker in workers):
            return
        assert time.monotonic() < deadline


def owner_of(server: serving.Server, sock: socket.socket) -> int:
    """Return the worker that has accepted a connection."""
    port = sock.getsockname()[1]
    return next(pid for pid in server.workers if port in procfs.remote_ports(pid))


def connect_to(server: serving.Server, worker: int) -> socket.socket:
    """Connect until that worker has accepted."""
    while True:
        sock = server.connect()
        assert ask(sock, "GET", "/health", {}).status == 200
        if owner_of(server, sock) == worker:
            return sock
        sock.close()


def parts_of(storage: Path) -> list[Path]:
    """Return what is left of unfinished uploads: bytes and notes."""
    return sorted((storage / ".hmacfs/uploads").iterdir())
