"""The way around the disk: threads that wait for it while the loop serves others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hmacfs.policy import buffers, disk_latency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from hmacfs import _core
    from hmacfs.transfer.sinks import BodySink
    from hmacfs.transfer.slabs import Slabs

P = ParamSpec("P")
T = TypeVar("T")


class DiskThreads:
    """One worker's threads, the slabs that they work on, and what is known of the disk."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slabs: Slabs) -> None:
        """Serve `loop` with some of `slabs`."""
        self.slabs = slabs
        self._loop = loop
        self._threads = ThreadPoolExecutor(buffers.DISK_THREADS, "hmacfs-disk")
        self._free = asyncio.Semaphore(slabs.holders)
        self._tasks: set[asyncio.Task[None]] = set()
        self._disk = disk_latency.Disk()

    @property
    def slow(self) -> bool:
        """Whether writes must not be made on the loop now."""
        return self._disk.slow

    def note(self, waited_s: float) -> None:
        """Learn from a write that was waiting so long, wherever it was made."""
        self._disk = disk_latency.updated(self._disk, waited_s)

    def begin(self, step: Coroutine[None, None, None]) -> None:
        """Run `step` beside the loop's other work."""
        task = self._loop.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def lend(self, size: Callable[[], int]) -> AsyncIterator[_core.Slab]:
        """Lend a slab of the class that `size` then gives or, if memory is short, of a smaller one.

        Waits as long as all are lent.
        """
        async with self._free:
            with self.slabs.lend(size()) as slab:
                yield slab

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` on a thread, to its end even if whoever waits for it is cancelled."""
        return await self._loop.run_in_executor(self._threads, functools.partial(work, *args, **kwargs))

    async def store(self, sink: BodySink, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, which writes to `sink`, on a thread behind its guard. Raises Refused."""

        def guarded() -> T:
            with sink.guard(wait=True):
                return work(*args, **kwargs)

        try:
            with sink.in_thread():
                return await self.run(guarded)
        finally:
            self.note(sink.waited_s)

    async def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown()
