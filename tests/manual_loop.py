"""An event loop whose time a test sets, and that goes round when it is told to. It never waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_S = 1000.0


class ManualLoop(asyncio.SelectorEventLoop):
    """Callbacks, timers and descriptors are real; the time and the signals are the test's."""

    def __init__(self) -> None:
        self.now = START_S
        self.faults: list[dict[str, Any]] = []
        self.signals: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        super().__init__()
        self.set_exception_handler(lambda _loop, context: self.faults.append(context))

    def time(self) -> float:
        return self.now

    def turn(self, count: int = 1) -> None:
        """Go round `count` times: callbacks that wait, timers that are due, descriptors that are ready."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()

    def advance(self, seconds: float, turns: int = 3) -> None:
        """Let time pass, and what is due then happen, with what follows from it at once."""
        self.now += seconds
        self.turn(turns)

    def timers(self) -> list[float]:
        """Return in how many seconds each timer is due that is not cancelled."""
        handles: Sequence[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return sorted(handle.when() - self.now for handle in handles if not handle.cancelled())

    def add_signal_handler(  # type: ignore[override] # its type variables say no more
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        self.signals[sig] = callback, args

    def deliver(self, sig: int) -> None:
        """Have a signal come, and what follows from it happen."""
        callback, args = self.signals[sig]
        self.call_soon(callback, *args)
        self.turn(3)
