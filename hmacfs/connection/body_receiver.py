"""The body of one request on its way from the channel into its sink: read by the transport, or without it.

Made when a body is asked for. It owns the time that the body may take, and knows no phases: the protocol is
told once that the body has ended.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hmacfs import errors, transfer
from hmacfs.connection.observer import ADAPTED_FROM_BYTES
from hmacfs.errors import Refused
from hmacfs.policy import buffers, windows

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hmacfs.connection.body import RequestBody
    from hmacfs.connection.channel import Channel
    from hmacfs.connection.context import WorkerContext
    from hmacfs.connection.exchange import Exchange
    from hmacfs.connection.observer import TransferObserver
    from hmacfs.model import Plan


class BodyReceiver:
    """Receives one body; belongs to the loop, but for what a disk thread stores."""

    __slots__ = (
        "_aside",
        "_body",
        "_channel",
        "_context",
        "_direct",
        "_exchange",
        "_finished",
        "_observer",
        "_slab_bytes",
        "_until",
        "_window",
        "_window_s",
        "rest",
    )

    def __init__(
        self,
        context: WorkerContext,
        channel: Channel,
        exchange: Exchange,
        observer: TransferObserver,
        finished: Callable[[], None],
    ) -> None:
        """Prepare to receive the body of `exchange` from `channel`; `finished` is told once it has ended."""
        assert exchange.body is not None
        self._context = context
        self._channel = channel
        self._exchange = exchange
        self._observer = observer
        self._finished = finished
        self._body: RequestBody = exchange.body
        self._slab_bytes = 0
        self._direct = False  # whether the body is read from the socket without the transport
        self._aside = False  # whether a thread stores what the transport has read
        self._window = 0  # bytes moved when the current timeout window began
        self._window_s = 0.0  # how long that is
        self._until = 0.0  # when the body has taken too long, by the loop's clock
        self.rest = b""
        """What came behind the body."""

    def start(self, sink: transfer.BodySink, plan: Plan, pending: bytes) -> asyncio.Future[None]:
        """Let the body, which begins with `pending`, flow into `sink`; the future ends with the body.

        Refused if it breaks off.
        """
        context, body, channel = self._context, self._body, self._channel
        self._slab_bytes = min(plan.slab, context.scheduler.tuner.classes.most)
        poured = body.receive_into(context.loop, sink)
        self._direct = isinstance(sink, transfer.FileSink) and self._receive_directly(pending, sink)
        if not self._direct:
            self._store(memoryview(pending))
        # All of it may be here, and on its way into the sink.
        if body.flowing and not (self._direct or self._aside) and (channel.ended or channel.closed):
            body.end(Refused(errors.BODY_INCOMPLETE))
        return poured

    def wait(self) -> float:
        """Wait for what has not come yet; return the deadline of that, by the loop's clock."""
        now = self._context.loop.time()
        self._window = self._body.received
        self._until = now + self._context.bodytimeout_s
        if not (self._direct or self._aside):
            self._channel.resume_reading()
        return self._next_window(now)

    @property
    def flowing(self) -> bool:
        """Whether bytes are wanted now."""
        return self._body.flowing

    def read_buffer(self) -> memoryview:
        """Return the part of the worker's slab that the next bytes are to be read into."""
        context = self._context
        # What goes to a slow disk waits in memory of its own, so there is little of it.
        slow = context.scheduler.disk_threads.slow
        return context.slab[: buffers.LEAST_READ_BYTES if slow else self._slab_bytes]

    def on_read(self, data: memoryview) -> None:
        """Store what of `data`, which the transport has read, belongs to the body; keep the rest."""
        self._store(data)
        if self._body.flowing:
            if not self._aside and len(data) == len(self.read_buffer()):
                # A turn is bounded: else libuv fills the slab up to 32 times in a row. With one fast
                # upload, p99 of small GETs beside it fell from 66 ms to 5 ms, at the same CPU time.
                self._channel.pause_reading()
                self._context.loop.call_soon(self._channel.resume_reading)
        else:
            self._finished()

    def on_ended(self) -> None:
        """End the body where the client sends no more; but what is being stored may be all of it."""
        if not self._aside:
            self.end(Refused(errors.BODY_INCOMPLETE))

    def end(self, broken: Exception | None) -> None:
        """End the body: it is whole, or `broken` says why it never will be."""
        self._body.end(broken)
        self._finished()

    def close(self) -> None:
        """Give reading back to the transport."""
        if self._direct and not self._channel.closing:
            self._channel.resume_reading()

    def expire(self, now: float) -> float | None:
        """Refuse the body if its client is too slow; else return the next deadline.

        A slow disk is not the client's fault.
        """
        body = self._body
        received = body.received
        least = windows.least_bytes(self._context.timeouts.min_rate, self._window_s)
        slow = received - self._window < least or now >= self._until
        if slow and not (self._aside or body.waits_for_disk):
            self.end(Refused(errors.BODY_TOO_SLOW))
            return None
        self._observer.progress(self._exchange, received, time.monotonic())
        self._window = received
        return self._next_window(now)

    def _next_window(self, now: float) -> float:
        """Allow the body time for its next bytes: more of it where the line is known to be poor."""
        seconds = self._context.timeouts.readtimeout_s
        if self._body.left >= ADAPTED_FROM_BYTES:
            seconds = self._observer.treatment(self._exchange).window_s(seconds)
        self._window_s = seconds
        return min(now + seconds, self._until)

    # Without the transport: this side of `transfer.BodyTransfer`.

    def _receive_directly(self, pending: bytes, sink: transfer.FileSink) -> bool:
        """Receive the body without the transport, if that is worth it; return whether that is so."""
        body, channel, scheduler = self._body, self._channel, self._context.scheduler
        direct = buffers.is_direct(body.left, len(pending))
        if not body.left or not (direct or scheduler.disk_threads.slow):
            return False
        if channel.closed or (channel.ended and body.left > len(pending)):
            return False
        receiving = channel.body_transfer(scheduler, self, sink, pending[: body.left])
        if receiving is None:
            return False
        body.receive_with(receiving)
        self.rest = pending[body.left :]
        return True

    @property
    def left(self) -> int:
        """Bytes of a body with Content-Length that have not come yet."""
        return self._body.left

    @property
    def rate(self) -> float | None:
        """What the client usually sends, in bytes per second; None if that is not known."""
        return self._observer.sending_rate(self._exchange)

    def advance(self, count: int) -> None:
        """Note that `count` bytes are stored."""
        self._body.advance(count)

    def transferred(self, broken: Exception | transfer.Broken | None) -> None:
        """Note that a large body is whole, or why it never will be; from here on the transport reads."""
        if broken is transfer.Broken.LOST:
            self._channel.drop()
        elif broken is transfer.Broken.ENDED:
            self._channel.ended = True
        self.end(Refused(errors.BODY_INCOMPLETE) if isinstance(broken, transfer.Broken) else broken)

    # What the transport has read.

    def _store(self, data: memoryview) -> None:
        """Store what of `data` belongs to the body and keep the rest: here, or on a thread."""
        sink, disk_threads = self._body.sink, self._context.scheduler.disk_threads
        assert sink is not None
        if (data and disk_threads.slow) or not self._store_now(sink, data):
            self._aside = True
            self._channel.pause_reading()
            disk_threads.begin(self._store_aside(bytes(data), sink))
        elif data:
            disk_threads.note(sink.waited_s)

    def _store_now(self, sink: transfer.BodySink, data: memoryview) -> bool:
        """Store what of `data` belongs to the body, and keep the rest; False if it must wait."""
        try:
            with sink.guard(len(data), wait=False) as now:
                if now:
                    self.rest = self._body.take(data) or b""
                return now
        except Refused as refused:
            self._body.end(refused)
            return True

    async def _store_aside(self, data: bytes, sink: transfer.BodySink) -> None:
        """Store on a thread what of `data` belongs to the body, and keep the rest; then read on."""
        body = self._body
        used = 0
        broken: Exception | None = None
        try:
            disk_threads = self._context.scheduler.disk_threads
            used = await disk_threads.store(sink, body.store, memoryview(data), sink)
        except Exception as error:  # noqa: BLE001 - the border: told to whoever waits for the body
            broken = error
        self._aside = False
        if not body.flowing:
            return  # it was given up meanwhile
        if broken is None and body.unread:
            if not self._channel.ended:
                self._channel.resume_reading()
                return
            broken = Refused(errors.BODY_INCOMPLETE)
        self.rest = data[used:]
        self.end(broken)
