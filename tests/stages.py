"""One body on its way from a socket to a file, as a worker receives it, but without a server."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from hmacfs import _core, metrics, transfer
from hmacfs._descriptor import Descriptor
from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes, buffer_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from hmacfs.policy.buffer_classes import Classes

SIZES = buffer_classes.between(32 * KiB, 4 * MiB)


def scheduler(  # noqa: PLR0913 - what the tests vary
    loop: asyncio.AbstractEventLoop,
    *,
    slab: int,
    lent: Callable[[int], None] = lambda _: None,
    connections: Sized = (),
    row: metrics.CounterRow | None = None,
    sizes: Classes = SIZES,
    initial: int = MiB,
    memory: int = 16 * MiB,
) -> transfer.Scheduler:
    """Return what a worker's large transfers share; `lent` is told of memory that the lane lends."""
    share = buffer_memory.share(memory, 1, sizes)
    row = row or metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
    return transfer.Scheduler(
        loop,
        connections,
        slab=_core.Slab(slab),
        disk_threads=transfer.DiskThreads(loop, transfer.Slabs(share, lent)),
        tuner=transfer.BufferTuner(row, share.classes, initial=initial),
    )


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


class Stage:
    """One body on its way from one end of a socket to a file."""

    def __init__(  # noqa: PLR0913 - what the tests vary
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        length: int,
        first: bytes = b"",
        slab: int = 64 * KiB,
        slow: bool = False,
        steady: bool = False,
        limit: int | None = None,
        path: str = "",
        sizes: Classes = SIZES,
        initial: int = MiB,
        shared: transfer.Scheduler | None = None,
        tcp: bool = False,
    ) -> None:
        self.loop = loop
        self.lent: list[int] = []
        self.row = metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
        self.scheduler = shared or scheduler(
            loop, slab=slab, lent=self.lent.append, row=self.row, sizes=sizes, initial=initial
        )
        self.disk_threads = self.scheduler.disk_threads
        if slow:
            self.disk_threads.note(1.0)
        if steady:  # the verdict stays, however long a busy machine makes a write wait
            self.disk_threads.note = self._ignore  # type: ignore[method-assign]
        self.ours, self.theirs = tcp_pair() if tcp else socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
        self.sock = Descriptor(self.ours.fileno(), owned=False)
        self.file = os.open(path, os.O_RDWR) if path else os.memfd_create("part")
        self.sink = transfer.FileSink(Descriptor(self.file, owned=False), length if limit is None else limit)
        self.advanced: list[int] = []
        self.endings: list[Exception | transfer.Broken | None] = []
        self.ended = loop.create_future()
        self.left = length
        self.rate: float | None = None
        self.receiving = transfer.BodyTransfer(self.scheduler, self.sock, self, self.sink, first)

    def _ignore(self, waited_s: float) -> None:
        pass

    def advance(self, count: int) -> None:
        self.left -= count
        self.advanced.append(count)

    def transferred(self, broken: Exception | transfer.Broken | None) -> None:
        self.endings.append(broken)
        self.ended.set_result(broken)

    @property
    def stored(self) -> bytes:
        return os.pread(self.file, 64 * MiB, 0)

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.theirs, data)

    async def close(self) -> None:
        self.receiving.abort()
        await self.disk_threads.close()
        self.scheduler.close()
        self.leave()

    def leave(self) -> None:
        """Close its own socket and file, and nothing that is shared."""
        self.ours.close()
        self.theirs.close()
        os.close(self.file)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop go on until it is so."""
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)
