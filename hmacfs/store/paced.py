"""Small steps on the storage that the event loop makes itself as long as they are quick, else threads."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hmacfs.policy import loop_gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")


class Paced:
    """One kind of such steps."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Leave them to `pool` where they must not be made on the loop."""
        self._pool = pool
        self._pace = loop_gate.Pace()

    def on_loop(self) -> bool:
        """Whether the next step may be made on the loop."""
        return self._pace.on_loop(time.monotonic(), 0)

    def note(self, began: float, *, aside: bool) -> None:
        """Take into account a step that began then (time.monotonic) and has just ended; on any thread."""
        now = time.monotonic()
        if now - began >= loop_gate.STALL_S:
            (self._pace.note_aside if aside else self._pace.note)(now, now - began)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` on the loop or, while that is slow, on a thread."""
        aside = not self.on_loop()

        def timed() -> T:
            began = time.monotonic()
            try:
                return work(*args, **kwargs)
            finally:
                self.note(began, aside=aside)

        return await asyncio.wrap_future(self._pool.submit(timed)) if aside else timed()
