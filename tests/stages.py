"""One body on its way from a socket to a file, as a worker receives it, but without a server."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from hmacfs import _core, transfer
from hmacfs.model import KiB, MiB
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.errors import Refused


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
        limit: int | None = None,
        path: str = "",
    ) -> None:
        self.loop = loop
        self.lent: list[int] = []
        self.lane = transfer.Lane(loop, transfer.Slabs(buffers.SLABS_BYTES, self.lent.append))
        if slow:
            self.lane.note(1.0)
        self.turns = transfer.Turns(loop, (), slab=_core.Slab(slab), lane=self.lane)
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
        self.file = os.open(path, os.O_RDWR) if path else os.memfd_create("part")
        self.sink = transfer.FileSink(self.file, length if limit is None else limit)
        self.advanced: list[int] = []
        self.endings: list[Refused | transfer.Broken | None] = []
        self.ended = loop.create_future()
        self.receiving = transfer.Receiving(
            self.turns,
            self.ours.fileno(),
            sink=self.sink,
            first=first,
            left=length,
            advanced=self.advanced.append,
            finished=self._finished,
        )

    def _finished(self, broken: Refused | transfer.Broken | None) -> None:
        self.endings.append(broken)
        self.ended.set_result(broken)

    @property
    def stored(self) -> bytes:
        return os.pread(self.file, 64 * MiB, 0)

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.theirs, data)

    async def close(self) -> None:
        self.receiving.abort()
        await self.lane.close()
        self.turns.close()
        self.ours.close()
        self.theirs.close()
        os.close(self.file)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop go on until it is so."""
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)
