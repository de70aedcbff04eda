"""The body of one request: where it ends, and where it flows. Knows no socket.

Bytes are only passed on while somebody has asked for them with `pour`; until then the connection
holds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.errors import Refused
from hmacfs.http import chunked

if TYPE_CHECKING:
    import asyncio

    from hmacfs.model import Head, Plan
    from hmacfs.transfer import Sink


class Body:
    """Framing by Content-Length or chunked coding (RFC 9112 6), poured into one sink."""

    __slots__ = ("_decoder", "_left", "_poured", "_sink", "broken", "plan", "received")

    def __init__(self, head: Head, limit: int) -> None:
        """Expect the body that `head` announces, of at most `limit` bytes if it is chunked."""
        self._left = head.length or 0
        # The one trailer field that anybody here asks for, if the head announces one (RFC 9110 6.6.2).
        keeps = b"upload-checksum" if b"trailer" in head.fields else None
        self._decoder = chunked.Decoder(limit, keeps=keeps) if head.chunked else None
        self._sink: Sink | None = None
        self._poured: asyncio.Future[None] | None = None
        self.plan: Plan | None = None
        self.broken = False  # whether it was given up: what follows on the wire is unknown
        self.received = 0  # bytes on the wire, framing included

    @property
    def unread(self) -> bool:
        """Whether some of it has not come yet."""
        return self._left > 0 or (self._decoder is not None and not self._decoder.done)

    def pour(self, loop: asyncio.AbstractEventLoop, sink: Sink, plan: Plan) -> asyncio.Future[None]:
        """Let what comes flow into `sink`; the future ends with the body."""
        self._sink = sink
        self.plan = plan
        self._poured = loop.create_future()
        return self._poured

    def take(self, data: memoryview) -> bytes | None:
        """Pass on what of `data` belongs to the body; give what lies beyond its end.

        None if more must come, or if it broke off: then `pour`'s future knows why.
        """
        assert self._sink is not None
        try:
            used = self.store(data, self._sink)
        except Refused as refused:
            self.end(refused)
            return None
        if self.unread:
            return None
        self.end(None)
        return bytes(data[used:])

    def store(self, data: memoryview, sink: Sink) -> int:
        """Pass on to `sink` what of `data` belongs to the body; give how much of it that is.

        Tells nobody that the body has ended, so that it may run on a thread. Raises Refused.
        """
        used = len(data)
        try:
            used = self._pass_on(data, sink)
        finally:
            self.received += used
        return used

    @property
    def trailer(self) -> bytes | None:
        """Upload-Checksum, if it followed the body."""
        return None if self._decoder is None else self._decoder.trailer

    @property
    def sink(self) -> Sink | None:
        """What it flows into now."""
        return self._sink

    @property
    def left(self) -> int:
        """Bytes of a body with Content-Length that have not come yet; 0 for a chunked one."""
        return self._left

    def advance(self, count: int) -> None:
        """Note that `count` bytes reached the sink by another way than `take`."""
        self._left -= count
        self.received += count

    def end(self, refused: Refused | None) -> None:
        """Tell who waits that the body is whole, or why it never will be."""
        poured, self._poured = self._poured, None
        self._sink = None
        self.broken = self.broken or refused is not None
        if poured is None or poured.done():
            return
        if refused is None:
            poured.set_result(None)
        else:
            poured.set_exception(refused)

    @property
    def flowing(self) -> bool:
        """Whether bytes are wanted now."""
        return self._sink is not None

    def _pass_on(self, data: memoryview, sink: Sink) -> int:
        if self._decoder is None:
            used = min(self._left, len(data))
            self._left -= used
            sink.take(data[:used])
            return used
        pieces = [data[span.start : span.stop] for span in self._decoder.feed(data)]
        if pieces:
            # Chunks may be tiny, and a write for each would cost more than the copy.
            sink.take(pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces)))
        return self._decoder.consumed
