"""An answer that cannot be given at once: run as far as it comes, and on whenever what it waits for is there.

As an asyncio.Task would, but its first step is made at once, and nothing is made for it but this. So a small
upload that came with its head is stored where it was read, and waits for its publication alone. It cannot be
cancelled, and what needs to know its task (`asyncio.timeout`) is not for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hmacfs.model import Reply


class EagerTask:
    """One answer on its way; belongs to the event loop."""

    __slots__ = ("_answer", "_ended", "_finished", "late")

    def __init__(
        self,
        answer: Coroutine[Any, None, Reply],
        finished: Callable[[EagerTask, Reply | BaseException], None],
    ) -> None:
        """Prepare to run `answer`; `finished` is told what came of it, once, and must not raise."""
        self._answer = answer
        self._finished = finished
        self._ended: asyncio.Future[None] | None = None
        self.late = False
        """Whether it had to wait; for what ran it to set."""

    def run(self, _waited_for: object = None) -> None:
        """Take it as far as it comes now."""
        outcome: Reply | BaseException
        try:
            future = self._answer.send(None)
        except StopIteration as ended:
            outcome = ended.value
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - told to `finished`
            outcome = error
        else:
            # How a future knows that it was awaited and not yielded (asyncio.futures, "duck typing").
            future._asyncio_future_blocking = False  # noqa: SLF001
            future.add_done_callback(self.run)
            return
        self._finished(self, outcome)
        if self._ended is not None:
            self._ended.set_result(None)

    async def ended(self) -> None:
        """Wait for its end; for one waiter."""
        self._ended = asyncio.get_running_loop().create_future()
        await self._ended
