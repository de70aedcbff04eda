"""Bodies whose length only their end tells (chunked coding, RFC 9112 7.1), counted on their way.

A token that signs the length can be judged only then. Until then the client is a stranger, so that all
strangers of a worker together may have only so much of the disk.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import MiB

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from hmacfs import transfer
    from hmacfs.model import Plan

STRANGERS_BYTES: Final = 32 * MiB
"""Room for a photograph or three; who has more to send knows its size, and is told to say it."""


class Allowance:
    """How many bytes strangers may still have. Bodies are stored on threads, too, where a disk is slow."""

    def __init__(self, size: int = STRANGERS_BYTES) -> None:
        """Allow `size` bytes at a time."""
        self._left = size
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take `count` bytes. Raise Refused LENGTH_REQUIRED if there are not so many."""
        with self._lock:
            if count > self._left:
                raise Refused(errors.LENGTH_REQUIRED, "so much is not taken without one")
            self._left -= count

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += count


class MeasuredConnection(Protocol):
    """A client as far as its body goes."""

    def receive_into(self, sink: transfer.BodySink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`."""


class Counted:
    """A client whose body is counted, and taken out of `allowance` if there is one. A context of the body."""

    __slots__ = ("_allowance", "_link", "_sink", "size")

    def __init__(self, link: MeasuredConnection, allowance: Allowance | None) -> None:
        """Count the body of `link`."""
        self._link = link
        self._allowance = allowance
        self._sink: transfer.BodySink | None = None
        self.size = 0
        """Bytes that have come."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what the body has taken."""
        if self._allowance is not None:
            self._allowance.give_back(self.size)

    def receive_into(self, sink: transfer.BodySink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`."""
        self._sink = sink
        return self._link.receive_into(self, plan)

    @property
    def waited_s(self) -> float:
        """How long the last write was waiting."""
        return self._to.waited_s

    @property
    def storing(self) -> asyncio.Future[None] | None:
        """Done when the thread that stores now has returned; None if none does."""
        return self._to.storing

    def in_thread(self) -> AbstractContextManager[None]:
        """Return the context in which a thread stores."""
        return self._to.in_thread()

    def guard(self, count: int = 0, *, wait: bool) -> AbstractContextManager[bool]:
        """Return the context of a write of `count` bytes."""
        return self._to.guard(count, wait=wait)

    def take(self, data: memoryview) -> None:
        """Count `data` and pass it on. Raises Refused."""
        if self._allowance is not None:
            self._allowance.take(len(data))
        self.size += len(data)
        self._to.take(data)

    @property
    def _to(self) -> transfer.BodySink:
        assert self._sink is not None
        return self._sink
