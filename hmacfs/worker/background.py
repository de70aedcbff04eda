"""What a worker does beside its connections: coroutines as tasks that it owns until it closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable

    from hmacfs.log import Log


class BackgroundTasks:
    """The tasks of one worker; the loop itself keeps only weak references to them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        """Have no task yet; those that fail are told in `log`."""
        self._loop = loop
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def start(self, job: Coroutine[None, None, None], name: str | None = None) -> None:
        """Run `job`, unless everything is being closed: what it would work on is closed, or about to be."""
        if self._closing:
            job.close()
            return
        task = self._loop.create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    async def close(self, others: Iterable[Awaitable[None]]) -> None:
        """Start no more, cancel what runs, and wait for it and for `others`."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *others, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.event("error", "background-failed", error=repr(error))
