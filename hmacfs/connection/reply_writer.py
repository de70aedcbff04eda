"""The replies of one connection on their way out: rendered, sent, counted and logged. Knows no phases.

The protocol is told once that a reply is out, or why it never will be, and decides what follows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from hmacfs import errors, transfer
from hmacfs.connection.observer import ADAPTED_FROM_BYTES
from hmacfs.http import preface
from hmacfs.http import reply as replies
from hmacfs.metrics import catalogue
from hmacfs.model import Facts
from hmacfs.policy import buffers, windows

if TYPE_CHECKING:
    from hmacfs.connection.channel import Channel
    from hmacfs.connection.context import WorkerContext
    from hmacfs.connection.exchange import Exchange
    from hmacfs.connection.observer import TransferObserver
    from hmacfs.model import Plan, Reply, Span


class ReplyOwner(Protocol):
    """The connection whose replies are written."""

    def on_sent(self, reply: Reply, why: str) -> None:
        """Go on: `reply` is out (""), or `why` says why it never will be."""


class ReplyWriter:
    """Sends one reply after the other; each call takes the exchange that it is about."""

    __slots__ = ("_channel", "_context", "_exchange", "_observer", "_owner", "_transfer", "_window")

    def __init__(
        self,
        context: WorkerContext,
        channel: Channel,
        observer: TransferObserver,
        owner: ReplyOwner,
    ) -> None:
        """Prepare to write to `channel`; `owner` is told of each reply."""
        self._context = context
        self._channel = channel
        self._observer = observer
        self._owner: ReplyOwner | None = owner
        self._exchange: Exchange | None = None  # whose reply is on its way
        self._transfer: transfer.ReplyTransfer | None = None
        self._window = 0  # bytes moved when the current timeout window began

    def write_interim(self, exchange: Exchange, data: bytes) -> None:
        """Write an interim answer at once (RFC 9110 15.2), straight to the socket as the reply will be.

        If that is full, the client has sent requests ahead of unread answers and is not waiting. What it
        takes a part of goes out with the reply: half of an interim answer would be read as part of that.
        """
        sent = 0 if exchange.unsent else self._channel.write(data)
        if sent or exchange.unsent:
            exchange.unsent += data[sent:]

    def respond(self, exchange: Exchange, reply: Reply, raw: bytes = b"") -> None:
        """Send `reply`; on return it may be out already. `raw` is what came where no Head came of it."""
        try:
            self._render(exchange, reply, raw)
        except BaseException:
            if self._transfer is None and reply.file is not None:  # else that closes it
                reply.file.descriptor.close()
            raise

    def _render(self, exchange: Exchange, reply: Reply, raw: bytes) -> None:
        context = self._context
        if self._channel.closing:
            if reply.file is not None:
                reply.file.descriptor.close()
            self._record(exchange, reply, sent=0, arrived=0, broken="client_gone")
            return
        if reply.close or exchange.body_unread or context.draining:
            exchange.keep = False
        head = exchange.head
        context.app.decorate(reply, head)
        first = replies.render(
            reply,
            head,
            request_id=exchange.request_id,
            date=context.date,
            keep_alive=exchange.keep,
        )
        if exchange.unsent:
            first = exchange.unsent + first
        pieces: tuple[bytes | Span, ...] = (first,)
        # What begins as HEAD gets no body whatever is wrong with it (RFC 9110 9.3.2).
        if replies.sends_body(reply, head) and not (head is None and raw.startswith(b"HEAD ")):
            pieces = (first, *reply.pieces)
        if reply.code == errors.HTTP2_PREFACE.code:
            pieces = (preface.ANSWER,)  # the one answer that such a client can read
        if head is not None and reply.kept is not None and exchange.keep:
            context.memory.offer(head, reply)
        elif head is not None and head.method == "DELETE":
            context.hot.forget()  # gone at once here, within a second from the other workers' memory
        self.send(exchange, transfer.RenderedReply(reply, pieces))

    def send(self, exchange: Exchange, rendered: transfer.RenderedReply) -> None:
        """Send `rendered`; on return it may be out already."""
        context = self._context
        self._window = rendered.sent
        beside = context.row.read(catalogue.ACTIVE_DOWNLOADS)
        length = rendered.reply.length
        plan = buffers.for_download(Facts(length=length, beside=beside))
        if length >= ADAPTED_FROM_BYTES:
            self._adapt(exchange, plan)
        self._exchange = exchange
        self._transfer = self._channel.reply_transfer(context.scheduler, rendered, plan, self._on_sent)
        self._transfer.run()
        exchange.late = self._transfer is not None
        if exchange.late:
            context.row.add(catalogue.ACTIVE_DOWNLOADS)

    def resume(self) -> None:
        """Go on with the reply: the channel has room again."""
        if self._transfer is not None:
            self._transfer.resume()

    def release(self) -> None:
        """Give up the reply that is on its way, and let go of the owner: the client is gone.

        Later answers are still recorded. The two would else hold each other, and the transport's memory (20
        KiB of OpenSSL's), until the garbage collector came by.
        """
        if self._transfer is not None:
            self._transfer.abort("client_gone")
        self._owner = None

    def expire(self, now: float) -> float | None:
        """Give up the reply if its client takes too little; else return the next deadline."""
        sending, exchange, timeouts = self._transfer, self._exchange, self._context.timeouts
        if sending is None or exchange is None:
            return None
        arrived = sending.arrived
        if arrived - self._window < windows.least_bytes(timeouts.min_rate, timeouts.writetimeout_s):
            sending.abort("client_stalled")
            return None
        self._window = arrived
        self._observer.progress(exchange, arrived, time.monotonic())
        self._observer.prepare(self._observer.treatment(exchange))
        return now + timeouts.writetimeout_s

    def _adapt(self, exchange: Exchange, plan: Plan) -> None:
        """Send as the client's line is worth."""
        treatment = self._observer.treatment(exchange)
        plan.budget = min(plan.budget, treatment.turn_bytes)
        self._observer.prepare(treatment)

    def _on_sent(self, why: str) -> None:
        """Count and log a reply that is out, or why it never will be."""
        sending, self._transfer = self._transfer, None
        exchange, self._exchange = self._exchange, None
        assert sending is not None
        assert exchange is not None
        if exchange.late:
            self._context.row.add(catalogue.ACTIVE_DOWNLOADS, -1)
        if sending.error is not None:
            exchange.log_fault(self._context.log, sending.error)
        sent = sending.moved
        arrived = 0 if sent < ADAPTED_FROM_BYTES else sending.arrived
        self._record(exchange, sending.reply, sent=sent, arrived=arrived, broken=why)
        if self._owner is not None:
            self._owner.on_sent(sending.reply, why)

    def _record(self, exchange: Exchange, reply: Reply, *, sent: int, arrived: int, broken: str) -> None:
        """Count and log an exchange, and note what it tells of the client."""
        exchange.record(self._context.row, self._context.log, reply, sent=sent, broken=broken)
        self._observer.finished(exchange, reply, arrived=arrived, broken=broken)
