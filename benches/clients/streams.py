"""A client that costs little beside the server: one thread, many connections, bodies by sendfile(2).

Reads its Order as JSON from standard input, prints its report as JSON. Answers' bodies are dropped in the
kernel (MSG_TRUNC, tcp(7)), uploads' bodies never pass through this process. Every file whose upload was
answered 201 is unlinked at once, with its directory, by a second thread: so the same pages of memory hold
the next one, and what a virtual machine asks for new ones is not measured. Anything but success ends it.

It runs as a script and imports nothing of ours.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Executor, Future

DRAIN_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 1 << 16
PATIENCE_S: Final = 60.0


class Order(TypedDict):
    """What is to be done."""

    host: str
    port: int
    connections: int
    seconds: float  # no request is begun later
    heads: list[str]  # of uploads: each is sent once; of downloads: again and again
    stored: list[str]  # where each upload will lie, to be unlinked; empty: downloads
    body: str  # path of the file that uploads send
    size: int  # bytes of it; 0: downloads
    piece: int  # bytes of each request of an upload that is made of several; 0: it is made of one
    rest: str  # head of such a request, with {target}, {offset}, {length} and {ends} (0 or 1)


class Exchange(NamedTuple):
    """One download, or one upload."""

    head: bytes
    stored: str  # {id} stands for the last segment of the Location that the server gives


class Source(NamedTuple):
    """What uploads send."""

    fd: int
    size: int  # 0: there are no uploads
    piece: int
    rest: str


class Answer(NamedTuple):
    """What a server answered."""

    length: int
    location: str


@dataclass(slots=True)
class Tally:
    """What was done."""

    bytes: int = 0
    times_s: list[float] = field(default_factory=list)
    removed: list[Future[None]] = field(default_factory=list)


def exchange_on(
    sock: socket.socket, exchanges: Iterator[Exchange], source: Source, tally: Tally, remover: Executor
) -> Generator[int, None, None]:
    """Do one after the other; yield what to wait for (EPOLLIN, EPOLLOUT)."""
    size, piece = source.size, source.piece
    drain = bytearray(DRAIN_BYTES)
    for exchange in exchanges:
        begun = time.perf_counter()
        yield from send(sock, exchange.head, source.fd, range(0 if piece else size))
        answer = yield from take_answer(sock, {201} if size else {200}, drain)
        target = urljoin(exchange.head.split(b" ", 2)[1].decode("latin-1"), answer.location)
        for offset in range(0, size, piece) if piece else ():
            span = range(offset, min(offset + piece, size))
            words = {"offset": offset, "length": len(span), "ends": int(span.stop == size)}
            head = source.rest.format(target=target, **words).encode("latin-1")
            yield from send(sock, head, source.fd, span)
            yield from take_answer(sock, {201, 204}, drain)
        tally.times_s.append(time.perf_counter() - begun)
        tally.bytes += size or answer.length
        if exchange.stored:
            stored = exchange.stored.replace("{id}", answer.location.rpartition("/")[2])
            tally.removed.append(remover.submit(remove, stored))


def send(sock: socket.socket, head: bytes, body: int, span: range) -> Generator[int, None, None]:
    """Send a request with these bytes of the file `body`."""
    # MSG_MORE, so that head and first bytes leave together
    sent = sock.send(head, socket.MSG_MORE if span else 0)
    if sent != len(head):
        raise OSError(f"the socket took {sent} bytes of a head")
    offset = span.start
    while offset < span.stop:
        try:
            offset += os.sendfile(sock.fileno(), body, offset, span.stop - offset)
        except BlockingIOError:
            yield select.EPOLLOUT


def take_answer(sock: socket.socket, wanted: set[int], drain: bytearray) -> Generator[int, None, Answer]:
    """Read one answer, and what comes before it (1xx), and drop its body."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0 or data.startswith(b"HTTP/1.1 1"):
        if end >= 0:
            data = data[end + 4 :]
            continue
        try:
            more = sock.recv(HEAD_BYTES)
        except BlockingIOError:
            yield select.EPOLLIN
            continue
        if not more:
            raise EOFError(f"the server closed after {data!r}")
        data += more
    first, *lines = data[:end].split(b"\r\n")
    status = int(first.split(b" ", 2)[1])
    if status not in wanted:
        raise ValueError(f"not {wanted}: {data[:500]!r}")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    # None of these servers sends a file in chunks, and a 204 has no length (RFC 9110 8.6).
    length = 0 if status == 204 else int(fields[b"content-length"])
    left = length - (len(data) - end - 4)
    while left > 0:
        try:
            taken = sock.recv_into(drain, min(left, DRAIN_BYTES), socket.MSG_TRUNC)
        except BlockingIOError:
            yield select.EPOLLIN
            continue
        if not taken:
            raise EOFError(f"the server closed {left} bytes early")
        left -= taken
    return Answer(length, fields.get(b"location", b"").decode("latin-1"))


def within(seconds: float, exchanges: Iterator[Exchange]) -> Iterator[Exchange]:
    """Return exchanges until the time is up; all connections share them."""
    stop = time.perf_counter() + seconds
    return itertools.takewhile(lambda _: time.perf_counter() < stop, exchanges)


def exchanges_of(order: Order) -> Iterator[Exchange]:
    """Return what is to be done, in order."""
    heads = [head.encode("latin-1") for head in order["heads"]]
    if order["size"]:
        return (Exchange(head, stored) for head, stored in zip(heads, order["stored"], strict=True))
    return (Exchange(head, "") for head in itertools.cycle(heads))


def run(order: Order, tally: Tally, remover: Executor) -> float:
    """Do it all; give the seconds it took."""
    body = os.open(order["body"], os.O_RDONLY) if order["size"] else -1
    source = Source(body, order["size"], order["piece"], order["rest"])
    begun = time.perf_counter()
    exchanges = within(order["seconds"], exchanges_of(order))
    epoll = select.epoll()
    running = {}
    for _ in range(order["connections"]):
        sock = socket.create_connection((order["host"], order["port"]), timeout=PATIENCE_S)
        sock.setblocking(False)
        running[sock.fileno()] = (sock, exchange_on(sock, exchanges, source, tally, remover))
        epoll.register(sock, 0)
    ready = [(fd, 0) for fd in running]
    while True:
        for fd, _ in ready:
            sock, steps = running[fd]
            try:
                epoll.modify(fd, next(steps))
            except StopIteration:
                del running[fd]
                sock.close()
        if not running:
            return time.perf_counter() - begun
        ready = epoll.poll(PATIENCE_S)
        if not ready:
            raise TimeoutError("the server is silent")


def remove(stored: str) -> None:
    """Remove a file and the directory that was made for it."""
    path = Path(stored)
    path.unlink()
    path.parent.rmdir()


def main() -> None:
    """Read the order, do it, report."""
    order: Order = json.load(sys.stdin)
    tally = Tally()
    with ThreadPoolExecutor(1) as remover:
        seconds = run(order, tally, remover)
    for removed in tally.removed:
        removed.result()
    json.dump({"bytes": tally.bytes, "seconds": seconds, "times_s": tally.times_s}, sys.stdout)


if __name__ == "__main__":
    main()
