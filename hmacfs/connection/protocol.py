"""One connection: what its transport says, its requests one after the other, its phases and its deadlines.

`BodyReceiver` receives bodies, `ReplyWriter` sends replies, a `Channel` is the byte stream below both.

Laws this file keeps:
- Answers leave in the order of the requests, since the next head is looked at only after the
  last answer is out; meanwhile at most one buffer of bytes is held and reading stops.
- A request whose body was not read to its end is the connection's last (RFC 9112 9.3).
- A refusal reaches the client: whole answer, half-close, bounded drain, close (RFC 9112 9.6).
"""

from __future__ import annotations

import asyncio
import time
import typing
from typing import TYPE_CHECKING, Final

from hmacfs import _front, errors, transfer
from hmacfs.connection import client_address
from hmacfs.connection.channel import ChannelType, PlainChannel
from hmacfs.connection.exchange import Exchange
from hmacfs.connection.lingering import Lingering
from hmacfs.connection.observer import TransferObserver
from hmacfs.connection.reply_writer import ReplyWriter
from hmacfs.connection.request_cycle import RequestCycle
from hmacfs.connection.states import TRANSITIONS, Event, Phase
from hmacfs.errors import Refused
from hmacfs.http import head as heads
from hmacfs.metrics import catalogue
from hmacfs.model import Reply
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from hmacfs.connection.body_receiver import BodyReceiver
    from hmacfs.connection.context import WorkerContext

# One look at all that keep asking for what is in memory costs as much as a few reads by the transport.
EPOLL_FROM_CONNECTIONS: Final = 8

NEVER: Final = float("inf")


class HttpProtocol(_front.Front, asyncio.BufferedProtocol):
    """The protocol of one accepted socket."""

    __slots__ = (
        "_channel_type",
        "_checked",
        "_exchange",
        "_from_memory",
        "_lingering",
        "_peer",
        "_phase",
        "_receiver",
        "channel",
        "context",
        "observer",
        "pending",
        "trusted",
        "writer",
    )

    def __init__(self, context: WorkerContext, client: str = "", channel: ChannelType = PlainChannel) -> None:
        """Make the protocol of a socket about to be accepted; `client` is whom a proxy names as its peer."""
        super().__init__(context.hot, context.slab[: buffers.HEAD_BYTES])
        self.context = context
        self._channel_type = channel
        self.sock = transfer.NO_FILE
        self._peer = client
        self.trusted = False  # whether the peer is one of our own proxies
        self._from_memory = False  # whether `_hot` may answer
        self._phase = Phase.HEAD
        self.pending = b""  # received, not yet looked at or not yet a whole head
        self._checked = 0  # how much of `pending` cannot hold the end of a head
        self.deadline = NEVER
        self._receiver: BodyReceiver | None = None
        self._lingering: Lingering | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over an accepted socket, or turn it away if there are too many."""
        context = self.context
        # uvloop's are not registered as asyncio's
        channel = self.channel = self._channel_type(typing.cast("asyncio.Transport", transport))
        self.sock = channel.socket.fileno()
        peer = client_address.peer_of(channel.socket, channel.peername, self._peer, context.trusted)
        self._peer = peer.shown
        self.client = peer.shown.encode()
        self.trusted = peer.is_trusted
        if peer.forwards:
            self.vouch = context.client_resolver
        self.observer = TransferObserver(context.clients, channel.socket if peer.is_direct else None)
        self.writer = ReplyWriter(context, channel, self.observer, self)
        self._exchange = self._next_exchange()
        channel.open()
        self._from_memory = channel.is_plain and not (self.trusted and context.app.offloads)
        context.connections.add(self)
        context.row.add(catalogue.CONNECTIONS)
        context.row.add(catalogue.ACCEPTED_CONNECTIONS)
        self.deadline = self.context.idle_until()
        self.waiting = self._from_memory
        if peer.is_gone:
            self.abort()
        elif len(context.connections) > context.max_connections:
            self._refuse(Refused(errors.TOO_MANY_CONNECTIONS))

    def read_buffer(self) -> memoryview:
        """Lend the worker's slab for one read: little of it until a body is expected."""
        if self._phase is Phase.BODY and self._receiver is not None:
            return self._receiver.read_buffer()
        slab = self.context.slab
        return slab if self._phase is Phase.LINGER else slab[: buffers.HEAD_BYTES]

    def on_read(self, nbytes: int, used: int) -> None:
        """Consume what was read into the slab, but for the first `used` bytes, which are answered."""
        self.waiting = False
        self._leave_epoll_reader()
        data = self.context.slab[used:nbytes]
        if self._phase is Phase.BODY and self._receiver is not None:
            self._receiver.on_read(data)
        elif self._phase is Phase.HEAD:
            self.pending += bytes(data)
            self.advance()
        elif self._phase is Phase.ANSWER:
            self.pending += bytes(data)
            self.channel.pause_reading()
        elif self._lingering is not None:
            self._lingering.on_read(nbytes)

    def on_steady(self) -> None:
        """Let the EpollReader read from now on, if there are connections enough to be worth it."""
        context, channel = self.context, self.channel
        enough = len(context.connections) >= EPOLL_FROM_CONNECTIONS
        if enough and not channel.paused and context.epoll_reader.add(self):
            channel.pause_reading()

    def _leave_epoll_reader(self) -> None:
        if self.watched:
            self.context.epoll_reader.remove(self)
            self.channel.resume_reading()

    def on_ended(self) -> None:
        """Note that the client has ended the connection; the EpollReader was reading."""
        self.eof_received()
        self.channel.close()

    def on_failed(self, error: Exception | None) -> None:
        """End a connection that is broken, or on which something of ours has failed."""
        if error is not None:
            self._exchange.log_fault(self.context.log, error)
        self.abort()

    def eof_received(self) -> bool:
        """Note that the client sends no more; keep the way to it open while an answer is due."""
        self.channel.ended = True
        if self._phase is Phase.BODY and self._receiver is not None:
            self._receiver.on_ended()
        elif self._phase is Phase.ANSWER:
            # Requests behind this one are answered too: a half-close says that all was asked (RFC 9112 9.6).
            self._exchange.keep = self._exchange.keep and bool(self.pending)
        else:
            self._enter(Event.CLOSED)
            return False
        return self.channel.half_closes

    def pause_writing(self) -> None:
        """Note that a transport that encrypts has enough."""
        self.channel.is_full = True

    def resume_writing(self) -> None:
        """Go on with the reply: the transport has room again."""
        self.channel.is_full = False
        self.writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reply's fate is logged
        """Let go of everything; a commit that has begun goes on to its end."""
        self._end_body(Refused(errors.BODY_INCOMPLETE))
        self._enter(Event.CLOSED)
        self.channel.ended = True
        self.writer.release()
        self.observer.leave()
        self.channel.release()
        self.sock = transfer.NO_FILE
        self.context.connections.discard(self)
        self.context.row.add(catalogue.CONNECTIONS, -1)

    # Requests.

    def on_partial_write(self, rest: tuple[bytes | None, int, str, int, int], used: int) -> None:
        """Go on with an answer from memory that the socket did not take whole."""
        missing, status, code, sent, received = rest
        context, exchange = self.context, self._exchange
        exchange.begin(context.hot.last_id(), received)
        exchange.head = heads.parse(bytes(context.slab[used - received : used]), context.head_limits)
        if self.vouch is not None:
            exchange.resolve_client(self.vouch, self.client)
        self._enter(Event.ASKED)
        # No more is read until it is out: what the slab holds beyond it must wait in `pending`.
        self.channel.pause_reading()
        reply = Reply(status=status, code=code, fields=[])
        if missing is None:
            exchange.record(context.row, context.log, reply, sent=sent, broken="file_shrunk")
            self.abort()
            return
        self.deadline = context.loop.time() + context.timeouts.writetimeout_s
        self.writer.send(exchange, transfer.RenderedReply(reply, (missing,), sent))
        if self._phase is Phase.HEAD:
            self._wait()

    def advance(self) -> None:
        """Answer whole heads in `pending` until one must be waited for."""
        if self._phase is not Phase.HEAD:
            return
        context = self.context
        for _ in range(context.max_pipelined):
            if not self.pending:
                self._wait()
                return
            end = heads.find_end(self.pending, self._checked)
            if end < 0:
                self._wait_for_head()
                return
            raw, self.pending = self.pending[:end], self.pending[end:]
            self._checked = 0
            self._exchange.begin(context.hot.next_id(), len(raw))
            self._enter(Event.ASKED)
            self.deadline = NEVER
            RequestCycle(self, self._exchange).start(raw)
            if self._phase is not Phase.HEAD:  # else it is answered already
                return
        # Others first: a turn is bounded. Meanwhile nothing is read, or `pending` had no bound.
        self.channel.pause_reading()
        context.loop.call_soon(self.advance)

    def _wait(self) -> None:
        """Wait for the next request."""
        if self.channel.ended:
            self._close()
            return
        self.deadline = self.context.idle_until()
        self.waiting = self._from_memory
        self.channel.resume_reading()

    def _wait_for_head(self) -> None:
        """Wait for the rest of a head, unless it is past saving."""
        context, exchange = self.context, self._exchange
        try:
            heads.check_partial(self.pending, context.head_limits, self._checked)
        except Refused as refused:
            self._refuse(refused)
            return
        self._checked = len(self.pending)
        if self.channel.ended:
            self._close()
            return
        if exchange.started == 0.0:
            exchange.started = time.monotonic()
            self.deadline = context.loop.time() + context.timeouts.headertimeout_s
        self.channel.resume_reading()

    def _next_exchange(self) -> Exchange:
        # A proxy of ours may name the client, but has not yet.
        return Exchange(self._peer, self._peer if self.vouch is None else "")

    def _refuse(self, refused: Refused) -> None:
        """Answer something that never became a request, and end the connection."""
        context, exchange = self.context, self._exchange
        self._enter(Event.ASKED)
        exchange.keep = False
        exchange.request_id = context.hot.next_id()
        exchange.started = exchange.started or time.monotonic()
        exchange.head_bytes = len(self.pending)
        self.respond(context.app.refuse(refused, None, exchange.request_id), self.pending)

    # Bodies.

    def on_body_wanted(self, receiver: BodyReceiver) -> None:
        """Give `receiver` what comes, until `on_body_ended`."""
        self._receiver = receiver
        self._enter(Event.BODY_WANTED)
        self.deadline = receiver.wait()

    def _end_body(self, refused: Refused) -> None:
        if self._receiver is not None:
            self._receiver.end(refused)
        elif self._exchange.body is not None:
            self._exchange.body.end(refused)

    def on_body_ended(self) -> None:
        """Go on with the answer: the body is whole, or was given up."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None and self._phase is Phase.BODY:
            self.pending = receiver.rest
            receiver.close()
            self._exchange.body_ended = time.monotonic()
            self._enter(Event.ENDED)
            self.deadline = NEVER

    # Replies.

    def respond(self, reply: Reply, raw: bytes = b"") -> None:
        """Send `reply`; on return it may be out already. `raw` is what came where no Head came of it."""
        self.deadline = self.context.loop.time() + self.context.timeouts.writetimeout_s
        self.writer.respond(self._exchange, reply, raw)

    def on_sent(self, reply: Reply, why: str) -> None:
        """Go on as the request asked: its reply is out, or `why` says why it never will be."""
        exchange = self._exchange
        if self._phase is Phase.CLOSED:
            return
        if why:
            self.abort()
        elif not exchange.keep:
            self._finish(refused=reply.close or exchange.body_unread)
        else:
            self._exchange = self._next_exchange()
            self._enter(Event.SENT)
            if exchange.late:  # else whatever sent the reply is about to look for the next request
                self.advance()

    # The end.

    def _finish(self, *, refused: bool) -> None:
        """End the connection after its last reply, so that the reply arrives.

        Bytes that meet a closed socket are answered with a reset, and a reset may overtake the
        reply: RFC 9112 9.6 asks to half-close, then read on for a while. A client that may still be sending
        is read to its end also where there is no half-close.
        """
        context, channel = self.context, self.channel
        unneeded = not refused and (not channel.half_closes or (context.draining and not self.pending))
        if channel.ended or unneeded or context.is_crowded(len(context.connections)):
            self._close()
            return
        self._enter(Event.SENT_LAST)
        self.pending = b""
        linger_s = context.timeouts.linger_s
        self._lingering = Lingering(linger_s)
        self.deadline = context.loop.time() + linger_s
        channel.end_writing()
        channel.resume_reading()

    def abort(self) -> None:
        """Close the connection at once, if it is not closed."""
        if self._phase is not Phase.CLOSED:
            self._enter(Event.CLOSED)
            self.channel.abort()

    def _close(self) -> None:
        self._enter(Event.CLOSED)
        self.channel.close()

    def drain(self) -> None:
        """End the connection soon if it is idle, else after its current request.

        Not at once: a request may be on its way, and its answer will say that it was the last.
        """
        if self._phase is Phase.HEAD and not self.pending:
            self.deadline = self.context.idle_until()

    def abandon(self) -> None:
        """End the connection, whatever it does: the shutdown's patience is over.

        An upload is told so; if that is not out by the next call, it never will be.
        """
        if self._phase is Phase.BODY:
            self._end_body(Refused(errors.DRAINING))
        else:
            self.abort()

    def expire(self, now: float) -> None:
        """Do what the passed deadline demands; called by the worker's tick."""
        if self._phase is Phase.HEAD:
            if self.pending:
                self._refuse(Refused(errors.REQUEST_TIMEOUT))
            else:
                self._close()
            return
        part = self._receiver or self._lingering or self.writer
        if (deadline := part.expire(now)) is not None:
            self.deadline = deadline
        elif part is self._lingering:
            self._close()

    def _enter(self, event: Event) -> None:
        """Move on as the table says; whatever way an upload ends, it is counted no more."""
        before, after = self._phase, TRANSITIONS[self._phase][event]
        self._phase = after
        self.waiting = False
        self._leave_epoll_reader()
        if before is Phase.BODY or after is Phase.BODY:
            self.context.row.add(catalogue.ACTIVE_UPLOADS, 1 if after is Phase.BODY else -1)
        if after is Phase.CLOSED:
            self.channel.closed = True
            self.deadline = NEVER
