"""What the gates of owners share: contents that tell whose they are, and clients that check them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving import Answer, Server

PIECE_BYTES = 32
TYPE = "application/octet-stream"


def content(rel: str, size: int) -> bytes:
    """Return a file's bytes: each 32 of them say whose they are, and where they belong."""
    mark = rel.partition("/")[0].encode()[:16].ljust(16, b".")
    count = -(-size // PIECE_BYTES)
    return b"".join(b"%b%015x\n" % (mark, number) for number in range(count))[:size]


def differs(rel: str, data: bytes, size: int) -> str:
    """Return in words where `data` is not the content of `rel`; "" if it is."""
    want = content(rel, size)
    if data == want:
        return ""
    at = next((n for n in range(min(len(data), size)) if data[n] != want[n]), min(len(data), size))
    start = at // PIECE_BYTES * PIECE_BYTES
    piece = data[start : start + PIECE_BYTES]
    return f"{rel}: {len(data)} of {size} bytes, from {at} on it is {piece!r}"


def put(rel: str, size: int) -> bytes:
    """Return a whole PUT of a file to a slot of its own."""
    return serving.head("PUT", serving.signed(rel, size), {"Content-Type": TYPE}, size) + content(rel, size)


def wrong(server: Server, rel: str, size: int) -> str:
    """Download a file that was acknowledged; say what is wrong with it, "" if nothing is."""
    answer: Answer = server.get(rel)
    return f"{rel}: {answer.status}" if answer.status != 200 else differs(rel, answer.body, size)


class Crowd:
    """Clients on threads, each of which does its one thing again and again until all is done."""

    def __init__(self) -> None:
        """Have nobody yet."""
        self._threads: list[threading.Thread] = []
        self._faults: list[BaseException] = []
        self.done = threading.Event()

    def add(self, count: int, work: Callable[[], object]) -> None:
        """Add so many who do `work` until `done` is set."""
        self._threads += [threading.Thread(target=self._repeat, args=[work]) for _ in range(count)]

    def run(self, patience_s: float = serving.PATIENCE_S) -> None:
        """Run them until one sets `done` or fails; nobody may need longer than that to end."""
        for thread in self._threads:
            thread.start()
        self.done.wait()
        for thread in self._threads:
            thread.join(patience_s)
            assert not thread.is_alive(), "a client waits for ever"
        if self._faults:
            raise self._faults[0]

    def _repeat(self, work: Callable[[], object]) -> None:
        try:
            while not self.done.is_set():
                work()
        except BaseException as fault:  # noqa: BLE001 - raised again by `run`
            self._faults.append(fault)
            self.done.set()
