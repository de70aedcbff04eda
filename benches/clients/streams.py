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


class Exchange(NamedTuple):
    """One request to make."""

    head: bytes
    stored: str


class Source(NamedTuple):
    """What uploads send."""

    fd: int
    size: int  # 0: there are no uploads


@dataclass(slots=True)
class Tally:
    """What was done."""

    bytes: int = 0
    times_s: list[float] = field(default_factory=list)
    removed: list[Future[None]] = field(default_factory=list)


def exchange_on(
    sock: socket.socket, exchanges: Iterator[Exchange], source: Source, tally: Tally, remover: Executor
) -> Generator[int, None, None]:
    """Make one request after the other; yield what to wait for (EPOLLIN, EPOLLOUT)."""
    body, size = source
    drain = bytearray(DRAIN_BYTES)
    for exchange in exchanges:
        begun = time.perf_counter()
        # MSG_MORE, so that head and first bytes leave together
        sent = sock.send(exchange.head, socket.MSG_MORE if size else 0)
        if sent != len(exchange.head):
            raise OSError(f"the socket took {sent} bytes of a head")
        offset = 0
        while offset < size:
            try:
                offset += os.sendfile(sock.fileno(), body, offset, size - offset)
            except BlockingIOError:
                yield select.EPOLLOUT
        received = yield from take_answer(sock, 201 if size else 200, drain)
        tally.times_s.append(time.perf_counter() - begun)
        tally.bytes += size or received
        if exchange.stored:
            tally.removed.append(remover.submit(remove, exchange.stored))


def take_answer(sock: socket.socket, status: int, drain: bytearray) -> Generator[int, None, int]:
    """Read one answer and drop its body; give the length of that."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        try:
            more = sock.recv(HEAD_BYTES)
        except BlockingIOError:
            yield select.EPOLLIN
            continue
        if not more:
            raise EOFError(f"the server closed after {data!r}")
        data += more
    first, *lines = data[:end].split(b"\r\n")
    if int(first.split(b" ", 2)[1]) != status:
        raise ValueError(f"not {status}: {data[:500]!r}")
    lengths = [line.split(b":")[1] for line in lines if line.lower().startswith(b"content-length:")]
    length = int(lengths[0])  # none of these servers sends a file in chunks
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
    return length


def within(seconds: float, exchanges: Iterator[Exchange]) -> Iterator[Exchange]:
    """Give exchanges until the time is up; all connections share them."""
    stop = time.perf_counter() + seconds
    return itertools.takewhile(lambda _: time.perf_counter() < stop, exchanges)


def exchanges_of(order: Order) -> Iterator[Exchange]:
    """Give what is to be done, in order."""
    heads = [head.encode("latin-1") for head in order["heads"]]
    if order["size"]:
        return (Exchange(head, stored) for head, stored in zip(heads, order["stored"], strict=True))
    return (Exchange(head, "") for head in itertools.cycle(heads))


def run(order: Order, tally: Tally, remover: Executor) -> float:
    """Do it all; give the seconds it took."""
    source = Source(os.open(order["body"], os.O_RDONLY) if order["size"] else -1, order["size"])
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
