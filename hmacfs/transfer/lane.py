"""The way around a slow disk: threads that write and read while the loop serves others."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from hmacfs import _core
from hmacfs.policy import buffers, latency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")


class Lane:
    """One worker's threads, the slabs that they work on, and what is known of the disk's pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lent: Callable[[int], None]) -> None:
        """Serve `loop`; `lent` is told of bytes as they are lent, and returned (negative)."""
        self._loop = loop
        self._lent = lent
        self._threads = ThreadPoolExecutor(buffers.LANE_SLABS, "hmacfs-lane")
        self._free = asyncio.Semaphore(buffers.LANE_SLABS)
        self._slabs: list[_core.Slab] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._pace = latency.Pace()

    @property
    def slow(self) -> bool:
        """Whether writes must not be made on the loop now."""
        return self._pace.slow

    def note(self, took_s: float) -> None:
        """Learn from a write that took so long, wherever it was made."""
        self._pace = latency.after(self._pace, took_s)

    def begin(self, step: Coroutine[None, None, None]) -> None:
        """Run `step` beside the loop's other work."""
        task = self._loop.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[_core.Slab]:
        """Lend a slab; waits as long as all are lent. They are made when first needed, and kept."""
        async with self._free:
            slab = self._slabs.pop() if self._slabs else _core.Slab(buffers.LANE_SLAB_BYTES)
            self._lent(slab.size)
            try:
                yield slab
            finally:
                self._lent(-slab.size)
                self._slabs.append(slab)

    async def run(self, work: Callable[[memoryview], T], data: memoryview) -> T:
        """Do `work` on a thread, to its end even if whoever waits for it is cancelled."""
        return await self._loop.run_in_executor(self._threads, work, data)

    async def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown()
