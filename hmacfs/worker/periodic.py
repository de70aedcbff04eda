"""What a worker does from time to time: a table of jobs, and which of them are due.

Knows nothing of what they do; the time is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from hmacfs.worker.background import BackgroundTasks


@dataclass(slots=True, kw_only=True)
class PeriodicJob:
    """One row of the table."""

    name: str
    interval_s: Callable[[], float]
    """From the end of one run to the next; asked each time, since it may change."""
    job: Callable[[], Coroutine[None, None, None]]
    first_s: float = 0.0
    """How long after the start it is due first."""
    while_draining: bool = True


class PeriodicJobs:
    """The table of one worker. No job runs twice at the same time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tasks: BackgroundTasks, jobs: Sequence[PeriodicJob]
    ) -> None:
        """Run `jobs` among `tasks`, counting from now."""
        self._loop = loop
        self._tasks = tasks
        self._jobs = jobs
        self._due = [loop.time() + job.first_s for job in jobs]

    def run_due(self, now: float, *, draining: bool) -> None:
        """Begin what is due at `now`, in the order of the table."""
        for number, job in enumerate(self._jobs):
            if self._due[number] <= now and (job.while_draining or not draining):
                self._due[number] = math.inf
                self._tasks.start(self._run(number), job.name)

    async def _run(self, number: int) -> None:
        job = self._jobs[number]
        try:
            await job.job()
        finally:
            self._due[number] = self._loop.time() + job.interval_s()
