"""A network that breaks where a test says: a TCP relay that resets, ends or forgets connections.

Where is counted in bytes that clients sent, so nothing here depends on how quickly anybody is.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import socket
import struct
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 60.0
PIECE_BYTES = 65536
# What lies here when a connection is reset is lost, as it is in a router: little, so that progress shows.
SEND_BUFFER_BYTES = 65536
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST and drops what was not sent


class Break(enum.Enum):
    """What becomes of a connection."""

    RESET = enum.auto()
    """Both sides are told at once; what was on its way is lost."""
    END = enum.auto()
    """Both sides read an end after all that was on its way."""
    SILENCE = enum.auto()
    """Nobody is told anything, as when a telephone changes its network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What goes wrong from now on. Bytes are those of all clients together, counted from now."""

    cut_every_bytes: int | None = None
    """Break the connection that carries the byte with this number, or a multiple of it, after that byte."""
    cuts: float = math.inf
    """So many times at most."""
    how: Break = Break.RESET
    deadly: bool = False
    """Whether a cut is of all connections, and each new one is reset until the weather changes."""
    spoiled_byte: int | None = None
    """Turn over all bits of the byte with this number, from 0."""
    lost_answer_bytes: int | None = None
    """Lose the first answer that comes after so many bytes, and reset its connection."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Link:
    """A client's connection, and the one to the server that goes with it."""

    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    cut: Break | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Relay:
    """Carries bytes between clients and one server, in a thread of its own."""

    upstream: tuple[str, int]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    address: str = ""
    """Where clients connect, host:port."""
    weather: Weather = field(default_factory=Weather)
    passed_bytes: int = 0
    """Bytes of clients that went on since the weather changed."""
    cuts: int = 0
    """Connections cut since then, by the weather or by `cut`."""
    _has_cut: threading.Event = field(default_factory=threading.Event)
    _links: set[_Link] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _dead: bool = False
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, weather: Weather) -> None:
        """Count from 0 and let this go wrong; what was dead lives again."""

        def apply() -> None:
            self.weather, self._dead = weather, False
            self.passed_bytes = self.cuts = 0
            self._has_cut.clear()

        self._run(apply)

    def cut(self, how: Break = Break.RESET) -> None:
        """Break every connection now."""
        self._run(lambda: self._cut(set(self._links), how))

    def wait_for_cut(self) -> None:
        """Wait until the weather has broken a connection."""
        assert self._has_cut.wait(PATIENCE_S), "nothing was cut"

    def _run(self, act: Callable[[], None]) -> None:
        async def acting() -> None:
            act()

        asyncio.run_coroutine_threadsafe(acting(), self.loop).result()

    async def serve(self, ready: Future[None]) -> None:
        """Relay until `stop`."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE_BYTES)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set_result(None)
        await self._stop.wait()
        server.close()
        self._cut(set(self._links), Break.RESET)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Reset every connection and end."""
        self._run(self._stop.set)

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = self.loop.create_task(self._carry(client, to_client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            if self._dead:
                raise ConnectionResetError
            server, to_server = await asyncio.open_connection(*self.upstream, limit=PIECE_BYTES)
        except OSError:
            _reset(to_client)
            return
        to_server.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        link = _Link(client=client, to_client=to_client, server=server, to_server=to_server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry_requests(link))
                group.create_task(self._carry_answers(link))
        except* OSError:
            _reset(to_client, to_server)
        finally:
            to_client.close()
            to_server.close()
            self._links.discard(link)

    async def _carry_requests(self, link: _Link) -> None:
        while (data := await link.client.read(self._until_cut())) and link.cut is None:
            before = self.passed_bytes
            self.passed_bytes += len(data)
            link.to_server.write(self._spoil(data, before))
            await link.to_server.drain()
            every = self.weather.cut_every_bytes
            if every and before // every < self.passed_bytes // every and self.cuts < self.weather.cuts:
                self._dead = self.weather.deadly
                self._cut(set(self._links) if self._dead else {link}, self.weather.how)
        await self._keep_quiet(link)
        link.to_server.write_eof()

    async def _carry_answers(self, link: _Link) -> None:
        while (data := await link.server.read(PIECE_BYTES)) and link.cut is None:
            lost = self.weather.lost_answer_bytes
            if lost is not None and self.passed_bytes >= lost and not self.cuts:
                self._cut({link}, Break.RESET)
            else:
                link.to_client.write(data)
                await link.to_client.drain()
        await self._keep_quiet(link)
        link.to_client.write_eof()  # the client may still be sending what nobody wants

    async def _keep_quiet(self, link: _Link) -> None:
        if link.cut is Break.SILENCE:
            await self._stop.wait()

    def _until_cut(self) -> int:
        every = self.weather.cut_every_bytes or PIECE_BYTES
        return min(every - self.passed_bytes % every, PIECE_BYTES)

    def _spoil(self, data: bytes, before: int) -> bytes:
        at = self.weather.spoiled_byte
        if at is None or not before <= at < before + len(data):
            return data
        spoiled = bytearray(data)
        spoiled[at - before] ^= 0xFF
        return bytes(spoiled)

    def _cut(self, links: set[_Link], how: Break) -> None:
        for link in links:
            self.cuts += 1
            self._has_cut.set()
            link.cut = how
            if how is Break.RESET:
                _reset(link.to_client, link.to_server)
            elif how is Break.END:
                link.to_client.close()
                link.to_server.close()


def _reset(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        if not writer.is_closing():
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()


@contextlib.contextmanager
def relaying(upstream: str) -> Iterator[Relay]:
    """Run a relay to `upstream`, host:port, in fair weather."""
    host, _, port = upstream.rpartition(":")
    relay = Relay(upstream=(host, int(port)))
    ready: Future[None] = Future()

    def serve() -> None:
        with asyncio.Runner(loop_factory=lambda: relay.loop) as runner:
            runner.run(relay.serve(ready))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    ready.result()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join()
