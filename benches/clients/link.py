"""A link between clients and a server: so many bytes a second, so late, and now and then nothing at all.

    python link.py PORT RATE DELAY STALL EVERY

Listens on a port that the system chooses, prints it, and connects each client to PORT. What clients send
passes at RATE bytes a second, each connection's by itself, and DELAY seconds late; answers are only late. For
the first STALL of every EVERY seconds nothing passes to the server. It runs as a script, imports nothing of
ours, and ends when it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import uvloop

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

HOST: Final = "127.0.0.1"
# What comes in so much time passes in one piece, as a burst of segments does.
PIECE_S: Final = 0.002
SEGMENT_BYTES: Final = 1460
# Pieces under way or waiting for the receiver: a router's queue.
QUEUE: Final = 64
ANSWER_BYTES: Final = 65536

Piece: TypeAlias = "tuple[float, bytes]"
"""When it is due, and what it is; nothing at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the link is like."""

    rate: float
    delay_s: float
    stall_s: float
    every_s: float


async def wait_until(due: float) -> None:
    """Return at that time of the loop's clock, at once if it is over."""
    if (left := due - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(left)


async def take(reader: StreamReader, pieces: asyncio.Queue[Piece], shape: Shape) -> None:
    """Let what a client sends onto the link, no faster than that is."""
    clock = asyncio.get_running_loop().time
    most = max(int(shape.rate * PIECE_S), SEGMENT_BYTES)
    free = clock()
    data = b"-"
    while data:
        data = await reader.read(most)
        free = max(free, clock()) + len(data) / shape.rate
        await wait_until(free)
        await pieces.put((free + shape.delay_s, data))


async def give(pieces: asyncio.Queue[Piece], writer: StreamWriter, shape: Shape) -> None:
    """Give what has passed to the server, unless the link stalls."""
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await pieces.get()
        await wait_until(due)
        if (phase := clock() % shape.every_s) < shape.stall_s:
            await asyncio.sleep(shape.stall_s - phase)
        if not data:
            return
        writer.write(data)
        await writer.drain()


async def answer(reader: StreamReader, writer: StreamWriter, shape: Shape) -> None:
    """Pass answers back."""
    while data := await reader.read(ANSWER_BYTES):
        await asyncio.sleep(shape.delay_s)
        writer.write(data)


async def main(port: int, shape: Shape) -> None:
    """Serve until ended."""

    async def connect(reader: StreamReader, writer: StreamWriter) -> None:
        upstream, to_server = await asyncio.open_connection(HOST, port)
        pieces: asyncio.Queue[Piece] = asyncio.Queue(QUEUE)
        back = asyncio.create_task(answer(upstream, writer, shape))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(take(reader, pieces, shape), give(pieces, to_server, shape))
        back.cancel()
        to_server.close()
        writer.close()

    server = await asyncio.start_server(connect, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    number, rate, delay_s, stall_s, every_s = sys.argv[1:]
    uvloop.run(
        main(
            int(number),
            Shape(rate=float(rate), delay_s=float(delay_s), stall_s=float(stall_s), every_s=float(every_s)),
        )
    )
