"""The smallest front there can be: bytes in, heads, bodies and refusals out, by the http room alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hmacfs.errors import Refused
from hmacfs.http import head
from hmacfs.http.chunked import Decoder
from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.model import Head

LIMITS = head.HeadLimits()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A whole request."""

    head: Head
    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal, as the catalogue names it."""

    code: str
    status: int
    close: bool


class Reader:
    """Reads one connection's bytes, however they are cut."""

    def __init__(self) -> None:
        """Begin a connection."""
        self.seen: list[Accepted | Rejected] = []
        self.closed = False
        self._data = bytearray()
        self._checked = 0
        self._head: Head | None = None
        self._decoder = Decoder(MiB)
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._data += data
        try:
            while not self.closed and self._data and self._step():
                pass
        except Refused as refused:
            refusal = refused.refusal
            self.seen.append(Rejected(refusal.code, refusal.status, refusal.close))
            self.closed = refusal.close
            if not self.closed:
                self.feed(b"")

    def _step(self) -> bool:
        return self._read_head() if self._head is None else self._read_body(self._head)

    def _read_head(self) -> bool:
        end = head.find_end(self._data, self._checked)
        if end < 0:
            head.check_partial(self._data, LIMITS, self._checked)
            self._checked = len(self._data)
            return False
        raw = bytes(self._data[:end])
        del self._data[:end]
        self._checked = 0
        self._head = head.parse(raw, LIMITS)
        self._decoder = Decoder(MiB)
        if not self._head.has_body:
            self._accept(self._head)
        return True

    def _read_body(self, this: Head) -> bool:
        data = bytes(self._data)
        if this.chunked:
            for span in self._decoder.feed(memoryview(data)):
                self._body += data[span.start : span.stop]
            del self._data[: self._decoder.consumed]
            done = self._decoder.done
        else:
            wanted = (this.length or 0) - len(self._body)
            self._body += data[:wanted]
            del self._data[:wanted]
            done = len(self._body) == this.length
        if done:
            self._accept(this)
        return done

    def _accept(self, this: Head) -> None:
        self.seen.append(Accepted(this, bytes(self._body)))
        self._head = None
        self._body.clear()
        self.closed = not this.keep_alive


def read(pieces: Iterable[bytes]) -> Reader:
    """Return what a connection's front made of these pieces."""
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def single_bytes(wire: bytes) -> list[bytes]:
    """Cut after every byte."""
    return [wire[at : at + 1] for at in range(len(wire))]
