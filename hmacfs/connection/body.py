"""The body of one request: where it ends, where it flows, and its one end. Knows no socket.

Bytes are only passed on once `receive_into` has asked for them; until then the connection holds them. `end`
stops whatever receives the body. The end is told only when no thread stores any of it: so what the sink
writes to may be closed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.http import chunked

if TYPE_CHECKING:
    import asyncio

    from hmacfs.model import Head
    from hmacfs.transfer import BodySink, BodyTransfer


class RequestBody:
    """Framing by Content-Length or chunked coding (RFC 9112 6), poured into one sink."""

    __slots__ = ("_decoder", "_left", "_poured", "_receiving", "_sink", "broken", "received")

    def __init__(self, head: Head, limit: int) -> None:
        """Expect the body that `head` announces, of at most `limit` bytes if it is chunked."""
        self._left = head.length or 0
        # The one trailer field that anybody here asks for, if the head announces one (RFC 9110 6.6.2).
        keeps = b"upload-checksum" if b"trailer" in head.fields else None
        self._decoder = chunked.Decoder(limit, keeps=keeps) if head.chunked else None
        self._sink: BodySink | None = None
        self._poured: asyncio.Future[None] | None = None
        self._receiving: BodyTransfer | None = None
        self.broken = False  # whether it was given up: what follows on the wire is unknown
        self.received = 0  # bytes on the wire, framing included

    @property
    def unread(self) -> bool:
        """Whether some of it has not come yet."""
        return self._left > 0 or (self._decoder is not None and not self._decoder.done)

    def receive_into(self, loop: asyncio.AbstractEventLoop, sink: BodySink) -> asyncio.Future[None]:
        """Let what comes flow into `sink`; the future ends with the body."""
        self._sink = sink
        self._poured = loop.create_future()
        return self._poured

    def take(self, data: memoryview) -> bytes | None:
        """Pass on what of `data` belongs to the body, within the sink's guard; give what lies beyond its end.

        None if more must come, or if it broke off: then the future of `receive_into` knows why.
        """
        assert self._sink is not None
        try:
            used = self.store(data, self._sink)
        except Exception as error:  # noqa: BLE001 - the border: told to whoever waits for the body
            self.end(error)
            return None
        if self.unread:
            return None
        self.end(None)
        return bytes(data[used:])

    def store(self, data: memoryview, sink: BodySink) -> int:
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
    def sink(self) -> BodySink | None:
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

    def receive_with(self, receiving: BodyTransfer) -> None:
        """Note what reads it from the socket in the transport's place."""
        self._receiving = receiving

    def end(self, broken: Exception | None) -> None:
        """End it and whatever receives it; tell who waits that it is whole, or why it never will be.

        The first end counts. It is told once the thread that may be storing has returned.
        """
        poured, self._poured = self._poured, None
        sink, self._sink = self._sink, None
        receiving, self._receiving = self._receiving, None
        self.broken = self.broken or broken is not None
        if receiving is not None:
            receiving.abort()
        if poured is None:
            return
        if sink is not None and sink.storing is not None:
            sink.storing.add_done_callback(lambda _: _tell(poured, broken))
        else:
            _tell(poured, broken)

    @property
    def waits_for_disk(self) -> bool:
        """Whether its client could do nothing to speed it up."""
        return self._receiving is not None and self._receiving.waits_for_disk

    @property
    def flowing(self) -> bool:
        """Whether bytes are wanted now."""
        return self._sink is not None

    def _pass_on(self, data: memoryview, sink: BodySink) -> int:
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


def _tell(poured: asyncio.Future[None], broken: Exception | None) -> None:
    if poured.done():  # cancelled
        return
    if broken is None:
        poured.set_result(None)
    else:
        poured.set_exception(broken)
