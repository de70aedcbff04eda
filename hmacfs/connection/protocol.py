"""One client: bytes to Head, Reply to bytes, keep-alive, limits and timeouts.

Laws this file keeps:
- Answers leave in the order of the requests, since the next head is looked at only after the
  last answer is out; meanwhile at most one buffer of bytes is held and reading stops.
- A request whose body was not read to its end is the connection's last (RFC 9112 9.3).
- The transport is never given bytes: `transfer.PlainReplyTransfer` writes to the socket. (`secure` differs.)
- A refusal reaches the client: whole answer, half-close, bounded drain, close (RFC 9112 9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
import typing
from typing import TYPE_CHECKING, Final

from hmacfs import _front, errors, transfer
from hmacfs._descriptor import Descriptor
from hmacfs.connection.body import RequestBody
from hmacfs.connection.eager_task import EagerTask
from hmacfs.connection.exchange import Exchange
from hmacfs.connection.observer import ADAPTED_FROM_BYTES, TransferObserver
from hmacfs.connection.states import TRANSITIONS, Event, Phase
from hmacfs.errors import Refused
from hmacfs.http import head as heads
from hmacfs.http import preface
from hmacfs.http import reply as replies
from hmacfs.http.target import authority, host_of
from hmacfs.metrics import catalogue
from hmacfs.model import Facts, Reply
from hmacfs.policy import buffers
from hmacfs.policy.trusted_proxies import UNIX

if TYPE_CHECKING:
    from hmacfs.connection.context import WorkerContext
    from hmacfs.model import Head, Plan, Span
    from hmacfs.policy import chunks

# A refused client that goes on sending is listened to for so many times linger_s, as long as it is
# never silent for one; nginx: lingering_timeout 5s, lingering_time 30s.
LINGER_ROUNDS: Final = 6

# While the server drains, an idle connection is kept this long for a request that is on its way, as by
# nginx's keepalive_min_timeout: closing at once would lose it.
LAST_CALL_S: Final = 1.0

# How many connections above the limit are ended in stages; each holds a descriptor meanwhile.
SPARE_CONNECTIONS: Final = 32

# One look at all who keep asking for what is in memory costs as much as a few reads by the transport.
CROWD_FROM: Final = 8

NEVER: Final = float("inf")
GONE: Final = "gone"
"""The word for the peer of a TCP socket that was reset before it could be asked about."""
BODY_METHODS: Final = frozenset({"PUT", "POST", "PATCH"})


class HttpProtocol(_front.Front, asyncio.BufferedProtocol):
    """The protocol of one accepted socket."""

    __slots__ = (
        "_aside",
        "_checked",
        "_direct",
        "_drained",
        "_eof",
        "_exchange",
        "_from_memory",
        "_kernel",
        "_observer",
        "_paused",
        "_peer",
        "_pending",
        "_phase",
        "_rounds",
        "_sending",
        "_service",
        "_socket",
        "_transport",
        "_window",
        "_window_s",
        "trusted",
    )

    _transport: asyncio.Transport
    _kernel: socket.socket

    def __init__(self, service: WorkerContext, client: str = "") -> None:
        """Make the protocol of a socket about to be accepted; `client` is whom a proxy names as its peer."""
        super().__init__(service.hot, service.slab[: buffers.HEAD_BYTES])
        self._service = service
        self.sock = transfer.NO_FILE
        self._peer = client
        self.trusted = False  # whether the peer is one of our own proxies
        self._from_memory = False  # whether `_hot` may answer
        self._phase = Phase.HEAD
        self._pending = b""  # received, not yet looked at or not yet a whole head
        self._checked = 0  # how much of `_pending` cannot hold the end of a head
        self._paused = False
        self._eof = False
        self._drained = 0  # bytes thrown away since the last reply
        self._rounds = 0  # times that the end was put off because some came
        self.deadline = NEVER
        self._exchange = Exchange()
        self._window = 0  # bytes moved when the current timeout window began
        self._window_s = 0.0  # how long that of a body is
        self._direct = False  # whether the body is read from the socket without the transport
        self._aside = False  # whether a thread stores what the transport has read
        self._sending: transfer.ReplyTransfer | None = None

    # What uvloop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over an accepted socket, or turn it away if there are too many."""
        self._transport = typing.cast("asyncio.Transport", transport)  # uvloop's are not registered
        service = self._service
        # uvloop's stand-in for the socket: it refuses (OSError, ValueError) once that is closed.
        sock = self._kernel = transport.get_extra_info("socket")
        self.sock = sock.fileno()
        self._socket = Descriptor(self.sock, owned=False)  # the transport's, until `connection_lost`
        peer = transport.get_extra_info("peername")
        named = bool(self._peer)
        # getpeername(2) fails for a TCP client that has reset already: it is nobody, and not trusted.
        host = UNIX if sock.family == socket.AF_UNIX else peer[0] if isinstance(peer, tuple) else ""
        # getpeername(2) of IPv6 has four parts.
        self._peer = self._peer or (authority(*peer[:2]) if isinstance(peer, tuple) else host or GONE)
        self.client = self._peer.encode()
        self.trusted = bool(host) and service.trusted.includes(host)
        # Whom a PROXY header names speaks for itself, unless it is a proxy of ours too.
        if service.trusted.includes(host_of(self._peer)) if named else self.trusted:
            self.vouch = service.client_resolver
        behind = named or self.trusted or host == UNIX
        self._observer = TransferObserver(service.clients, None if behind else sock)
        self._from_memory = self._may_answer_from_memory()
        service.connections.add(self)
        service.row.add(catalogue.CONNECTIONS)
        service.row.add(catalogue.ACCEPTED_CONNECTIONS)
        self._set_idle()
        self.waiting = self._from_memory
        if not host:
            self._close(abort=True)
        elif len(service.connections) > service.max_connections:
            self._refuse(Refused(errors.TOO_MANY_CONNECTIONS))

    def _may_answer_from_memory(self) -> bool:
        return not (self.trusted and self._service.app.offloads)

    def read_buffer(self) -> memoryview:
        """Lend the worker's slab for one read: little of it until a body is expected."""
        if (
            self._phase is Phase.BODY
            and self._exchange.body is not None
            and self._exchange.body.plan is not None
        ):
            # What goes to a slow disk waits in memory of its own, so there is little of it.
            slow = self._service.scheduler.disk_threads.slow
            return self._service.slab[: buffers.LEAST_READ_BYTES if slow else self._exchange.body.plan.slab]
        if self._phase is Phase.LINGER:
            return self._service.slab
        return self._service.slab[: buffers.HEAD_BYTES]

    def on_read(self, nbytes: int, used: int) -> None:
        """Consume what was read into the slab, but for the first `used` bytes, which are answered."""
        self.waiting = False
        self._leave_crowd()
        data = self._service.slab[used:nbytes]
        if self._phase is Phase.BODY:
            self._read_body(data)
            if self._phase is Phase.BODY and not self._aside and nbytes == len(self.read_buffer()):
                # A turn is bounded: else libuv fills the slab up to 32 times in a row. With one fast
                # upload, p99 of small GETs beside it fell from 66 ms to 5 ms, at the same CPU time.
                self._pause()
                self._service.loop.call_soon(self._resume)
        elif self._phase is Phase.HEAD:
            self._pending += bytes(data)
            self._advance()
        elif self._phase is Phase.ANSWER:
            self._pending += bytes(data)
            self._pause()
        elif self._phase is Phase.LINGER:
            self._drained += nbytes

    def on_steady(self) -> None:
        """Let the EpollReader read from now on, if there are connections enough to be worth it."""
        service = self._service
        if len(service.connections) >= CROWD_FROM and not self._paused and service.epoll_reader.add(self):
            self._pause()

    def _leave_crowd(self) -> None:
        if self.watched:
            self._service.epoll_reader.remove(self)
            self._resume()

    def on_ended(self) -> None:
        """Note that the client has ended the connection; the EpollReader was reading."""
        self.eof_received()
        self._transport.close()

    def on_failed(self, error: Exception | None) -> None:
        """End a connection that is broken, or on which something of ours has failed."""
        if error is not None:
            self._fault(error)
        if self._phase is not Phase.CLOSED:
            self._close(abort=True)

    def eof_received(self) -> bool:
        """Note that the client sends no more; keep the way to it open while an answer is due."""
        self._eof = True
        if self._phase is Phase.BODY:
            if not self._aside:  # else what has come may be all of it
                self._end_body(Refused(errors.BODY_INCOMPLETE))
            return True
        if self._phase is Phase.ANSWER:
            # Requests that wait behind this one are answered too: half-closing is how a client of
            # few words says that it has asked everything (RFC 9112 9.6).
            self._exchange.keep = self._exchange.keep and bool(self._pending)
            return True
        self._enter(Event.CLOSED)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reply's fate is logged
        """Let go of everything; a commit that has begun goes on to its end."""
        self._end_body(Refused(errors.BODY_INCOMPLETE))
        self._enter(Event.CLOSED)
        self._eof = True
        self.deadline = NEVER
        if self._sending is not None:
            self._sending.abort("client_gone")
        self._observer.leave()
        self._socket.close()  # the number is about to be another socket's
        self.sock = transfer.NO_FILE
        self._service.connections.discard(self)
        self._service.row.add(catalogue.CONNECTIONS, -1)

    # Requests.

    def on_partial_write(self, rest: tuple[bytes | None, int, str, int, int], used: int) -> None:
        """Go on with an answer from memory that the socket did not take whole."""
        missing, status, code, sent, received = rest
        service = self._service
        exchange = self._exchange
        exchange.started = time.monotonic()
        exchange.request_id = service.hot.last_id()
        exchange.head_bytes = received
        exchange.head = heads.parse(bytes(service.slab[used - received : used]), service.head_limits)
        if self.vouch is not None:
            self._peer = self._client_of(exchange.head)
        self._enter(Event.ASKED)
        # No more is read until it is out: what the slab holds beyond it must wait in `_pending`.
        self._pause()
        reply = Reply(status=status, code=code, fields=[])
        if missing is None:
            self._exchange.record(service, self._peer, reply, sent=sent, broken="file_shrunk")
            self._close(abort=True)
            return
        self._send(reply, (missing,), sent=sent)
        if self._phase is Phase.HEAD:
            self._wait()

    def _advance(self) -> None:
        """Answer whole heads in `_pending` until one must be waited for."""
        if self._phase is not Phase.HEAD:
            return
        service = self._service
        for _ in range(service.max_pipelined):
            if not self._pending:
                self._wait()
                return
            end = heads.find_end(self._pending, self._checked)
            if end < 0:
                self._wait_for_head()
                return
            raw, self._pending = self._pending[:end], self._pending[end:]
            self._checked = 0
            self._begin(raw)
            if self._phase is not Phase.HEAD:
                return
        # Others first: a turn is bounded. Meanwhile nothing is read, or `_pending` had no bound.
        self._pause()
        service.loop.call_soon(self._advance)

    def _wait(self) -> None:
        """Wait for the next request."""
        if self._eof:
            self._close()
            return
        self._set_idle()
        self.waiting = self._from_memory
        self._resume()

    def _set_idle(self) -> None:
        """Allow the time that a connection may be idle; little of it while the server drains."""
        service = self._service
        seconds = service.timeouts.idletimeout_s
        self.deadline = service.loop.time() + (min(seconds, LAST_CALL_S) if service.draining else seconds)

    def _wait_for_head(self) -> None:
        """Wait for the rest of a head, unless it is past saving."""
        try:
            heads.check_partial(self._pending, self._service.head_limits, self._checked)
        except Refused as refused:
            self._refuse(refused)
            return
        self._checked = len(self._pending)
        if self._eof:
            self._close()
            return
        if self._exchange.started == 0.0:
            self._exchange.started = time.monotonic()
            self.deadline = self._service.loop.time() + self._service.timeouts.headertimeout_s
        self._resume()

    def _begin(self, raw: bytes) -> None:
        """Parse one head and start its answer; a plain GET is finished on return."""
        service = self._service
        self._exchange.started = time.monotonic()
        self._exchange.request_id = service.hot.next_id()
        self._exchange.head_bytes = len(raw)
        self._enter(Event.ASKED)
        self.deadline = NEVER
        try:
            if self.vouch is not None:
                self._peer = self.client.decode()  # that of the request before is none of this one's
            head = self._exchange.head = heads.parse(raw, service.head_limits)
            if self.vouch is not None:
                self._peer = self._client_of(head)
            self._exchange.keep = head.keep_alive and not (self._eof and not self._pending)
            if head.method in BODY_METHODS or head.has_body:
                self._exchange.body = RequestBody(head, service.app.max_body_bytes)
            answer = service.app.answer(head, self)
        except Refused as refused:
            self._exchange.head = self._exchange.head or refused.head
            self._respond(service.app.refuse(refused, self._exchange.head, self._exchange.request_id), raw)
        except Exception as error:  # noqa: BLE001 - the border: a fault of ours must not end the worker
            self._respond(self._fault(error))
        else:
            if isinstance(answer, Reply):
                self._respond(answer)
            else:
                task = EagerTask(answer, self._on_response)
                service.tasks.add(task)
                task.run()
                task.late = True

    @property
    def _profile_address(self) -> str:
        """The address under which the client is remembered; "" if our proxy names nobody."""
        return "" if self.vouch is not None and self._peer.encode() == self.client else self._peer

    def _client_of(self, head: Head) -> str:
        """Return whom our proxy names as the client of a request; itself if it names nobody."""
        assert self.vouch is not None
        fields = head.fields
        return (self.vouch(fields.get(b"x-forwarded-for"), fields.get(b"forwarded")) or self.client).decode()

    def _on_response(self, task: EagerTask, outcome: Reply | BaseException) -> None:
        """Send what came of an answer that could not be given at once."""
        service = self._service
        service.tasks.discard(task)
        try:
            if isinstance(outcome, Refused):
                outcome = service.app.refuse(outcome, self._exchange.head, self._exchange.request_id)
            elif isinstance(outcome, BaseException):
                outcome = self._fault(outcome)
            self._respond(outcome)
            if task.late:  # else `_advance` is about to look for the next request
                self._advance()
        except Exception as error:  # noqa: BLE001 - the border: if this sends no reply, nothing else ever would
            service.log.event(
                "error", "request-failed", request_id=self._exchange.request_id, error=repr(error)
            )
            if self._phase is not Phase.CLOSED:
                self._close(abort=True)

    def _fault(self, error: BaseException) -> Reply:
        self._service.log.event(
            "error", "request-failed", request_id=self._exchange.request_id, error=repr(error)
        )
        return self._service.app.refuse(
            Refused(errors.INTERNAL), self._exchange.head, self._exchange.request_id
        )

    def _refuse(self, refused: Refused) -> None:
        """Answer something that never became a request, and end the connection."""
        self._enter(Event.ASKED)
        self._exchange.keep = False
        self._exchange.request_id = self._service.hot.next_id()
        self._exchange.started = self._exchange.started or time.monotonic()
        self._exchange.head_bytes = len(self._pending)
        self._respond(self._service.app.refuse(refused, None, self._exchange.request_id), self._pending)

    # Bodies: this side of `app.ClientConnection`.

    @property
    def peer(self) -> str:
        """Address and port of the client, or "unix"."""
        return self._peer

    def authorize(self, dialect: str, owner: str = "") -> None:
        """Note which token dialect let the request in, and send 100 Continue if it is awaited.

        `owner` is whom the token names as uploader. RFC 9110 10.1.1: only now is it known that the body is
        wanted.
        """
        self._exchange.dialect = dialect
        self._exchange.owner = owner
        if self._phase is Phase.CLOSED:
            return  # by now the descriptor's number may be another client's
        if self._exchange.head is not None and self._exchange.head.expect_continue and not self._pending:
            self._write_now(replies.CONTINUE)

    def advise(self, upload: chunks.ChunkedUpload) -> int:
        """Return how many bytes the client should send of `upload` in its next request."""
        return self._observer.advise(self._exchange, self._profile_address, upload)

    def send_interim(self, interim: bytes) -> None:
        """Send an interim answer (RFC 9110 15.2)."""
        if self._phase is not Phase.CLOSED:
            self._write_now(interim)

    def abort_body(self, refused: Refused) -> None:
        """End the body that is being poured, if it is: whoever waits for it is `refused`."""
        if self._phase is Phase.BODY:
            self._end_body(refused)

    @property
    def trailer(self) -> bytes | None:
        """Upload-Checksum, if it followed the body that was poured."""
        body = self._exchange.body
        return None if body is None else body.trailer

    def _write_now(self, data: bytes) -> None:
        """Write straight to the socket, as the reply will be.

        If it is full, the client has sent requests ahead of unread answers and is not waiting. What it takes
        a part of goes out with the reply: half of an interim answer would be read as part of that.
        """
        exchange = self._exchange
        sent = 0
        if not exchange.unsent:
            with contextlib.suppress(OSError):
                sent = os.write(self.sock, data)
        if sent or exchange.unsent:
            exchange.unsent += data[sent:]

    def receive_into(self, sink: transfer.BodySink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`; the future ends with the body. Refused if it breaks off."""
        service = self._service
        body = self._exchange.body
        assert body is not None
        plan.slab = min(plan.slab, service.scheduler.tuner.classes.most)
        poured = body.receive_into(service.loop, sink, plan)
        pending, self._pending = self._pending, b""
        self._direct = isinstance(sink, transfer.FileSink) and self._receive(pending, body, sink)
        if not self._direct:
            self._read_body(memoryview(pending))
        gone = self._phase is Phase.CLOSED
        here = self._direct or self._aside  # all of it may be, and be on its way into the sink
        if body.flowing and not here and (self._eof or gone):
            body.end(Refused(errors.BODY_INCOMPLETE))
        elif body.flowing and not gone:
            self._enter(Event.BODY_WANTED)
            self._window = body.received
            now = service.loop.time()
            self._exchange.body_until = now + service.bodytimeout_s
            self._begin_window(body, now)
            if not here:
                self._resume()
        return poured

    def _begin_window(self, body: RequestBody, now: float) -> None:
        """Allow a body time for its next bytes: more of it where the line is known to be poor."""
        seconds = self._service.timeouts.readtimeout_s
        if body.left >= ADAPTED_FROM_BYTES:
            seconds = self._observer.treatment(self._exchange, self._profile_address).window_s(seconds)
        self._window_s = seconds
        self.deadline = min(now + seconds, self._exchange.body_until)

    def _receive(self, pending: bytes, body: RequestBody, sink: transfer.FileSink) -> bool:
        """Receive a body that begins with `pending` without the transport, if that is worth it.

        Give whether that is so.
        """
        scheduler = self._service.scheduler
        direct = buffers.is_direct(body.left, len(pending))
        if not body.left or not (direct or scheduler.disk_threads.slow):
            return False
        if self._phase is Phase.CLOSED or (self._eof and body.left > len(pending)):
            return False
        self._pause()
        try:
            receiving = transfer.BodyTransfer(
                scheduler,
                self._socket,
                sink=sink,
                first=pending[: body.left],
                left=body.left,
                rate=self._observer.sending_rate(self._exchange, self._profile_address),
                advanced=body.advance,
                finished=self._received,
            )
        except OSError:  # it cannot be watched: the transport can
            return False
        body.receive_with(receiving)
        self._pending = pending[body.left :]
        return True

    def _received(self, broken: Exception | transfer.Broken | None) -> None:
        """Note that a large body is whole, or why it never will be; from here on the transport reads."""
        if broken is transfer.Broken.LOST:
            self._transport.abort()
        elif broken is transfer.Broken.ENDED:
            self._eof = True
        self._end_body(Refused(errors.BODY_INCOMPLETE) if isinstance(broken, transfer.Broken) else broken)

    def _read_body(self, data: memoryview) -> None:
        """Pass on the bytes of `data` that belong to the body and keep the rest."""
        body, disk_threads = self._exchange.body, self._service.scheduler.disk_threads
        assert body is not None
        sink = body.sink
        assert sink is not None
        if (data and disk_threads.slow) or not self._take_now(body, sink, data):
            self._aside = True
            self._pause()
            disk_threads.begin(self._store_aside(bytes(data), body, sink))
            return
        if data:
            disk_threads.note(sink.waited_s)
        if not body.flowing:
            self._leave_body()

    def _take_now(self, body: RequestBody, sink: transfer.BodySink, data: memoryview) -> bool:
        """Store what of `data` belongs to `body`, and keep the rest; False if the sink must be waited for."""
        try:
            with sink.guard(len(data), wait=False) as now:
                if now:
                    self._pending = body.take(data) or b""
                return now
        except Refused as refused:
            body.end(refused)
            return True

    async def _store_aside(self, data: bytes, body: RequestBody, sink: transfer.BodySink) -> None:
        """Store on a thread what of `data` belongs to `body`, and keep the rest; then read on."""
        used = 0
        broken: Exception | None = None
        try:
            used = await self._service.scheduler.disk_threads.store(sink, body.store, memoryview(data), sink)
        except Exception as error:  # noqa: BLE001 - the border: told to whoever waits for the body
            broken = error
        self._aside = False
        if not body.flowing:
            return  # it was given up meanwhile
        if broken is None and body.unread:
            if not self._eof:
                self._resume()
                return
            broken = Refused(errors.BODY_INCOMPLETE)
        self._pending = data[used:]
        self._end_body(broken)

    def _end_body(self, broken: Exception | None) -> None:
        if self._exchange.body is not None:
            self._exchange.body.end(broken)
        self._leave_body()

    def _leave_body(self) -> None:
        if self._phase is Phase.BODY:
            if self._direct:
                self._direct = False
                if not self._transport.is_closing():
                    self._resume()
            self._exchange.body_ended = time.monotonic()
            self._enter(Event.ENDED)
            self.deadline = NEVER

    # Replies.

    def _respond(self, reply: Reply, raw: bytes = b"") -> None:
        """Send `reply`; on return it may be out already. `raw` is what came where no Head came of it."""
        try:
            self._render(reply, raw)
        except BaseException:
            if self._sending is None and reply.file is not None:  # else that closes it
                reply.file.descriptor.close()
            raise

    def _render(self, reply: Reply, raw: bytes) -> None:
        service = self._service
        if self._phase is Phase.CLOSED or self._transport.is_closing():
            if reply.file is not None:
                reply.file.descriptor.close()
            self._record(reply, sent=0, arrived=0, broken="client_gone")
            return
        if reply.close or self._exchange.body_unread or service.draining:
            self._exchange.keep = False
        head = self._exchange.head
        service.app.decorate(reply, head)
        first = replies.render(
            reply,
            head,
            request_id=self._exchange.request_id,
            date=service.date,
            keep_alive=self._exchange.keep,
        )
        if self._exchange.unsent:
            first = self._exchange.unsent + first
        pieces: tuple[bytes | Span, ...] = (first,)
        # What begins as HEAD gets no body whatever is wrong with it (RFC 9110 9.3.2).
        if replies.sends_body(reply, head) and not (head is None and raw.startswith(b"HEAD ")):
            pieces = (first, *reply.pieces)
        if reply.code == errors.HTTP2_PREFACE.code:
            pieces = (preface.ANSWER,)  # the one answer that such a client can read
        if head is not None and reply.kept is not None and self._exchange.keep:
            service.memory.offer(head, reply)
        elif head is not None and head.method == "DELETE":
            service.hot.forget()  # gone at once here, within a second from the other workers' memory
        self._send(reply, pieces)

    def _send(self, reply: Reply, pieces: tuple[bytes | Span, ...], *, sent: int = 0) -> None:
        """Send `pieces`; `sent` bytes of the reply are out already."""
        service = self._service
        self._window = sent
        self.deadline = service.loop.time() + service.timeouts.writetimeout_s
        beside = service.row.read(catalogue.ACTIVE_DOWNLOADS)
        length = reply.length
        plan = buffers.for_download(Facts(length=length, beside=beside))
        if length >= ADAPTED_FROM_BYTES:
            self._adapt(plan)
        self._sending = self._sender(reply, pieces, plan, sent)
        self._sending.run()
        self._exchange.late = self._sending is not None
        if self._exchange.late:
            service.row.add(catalogue.ACTIVE_DOWNLOADS)

    def _adapt(self, plan: Plan) -> None:
        """Send as the client's line is worth."""
        treatment = self._observer.treatment(self._exchange, self._profile_address)
        plan.budget = min(plan.budget, treatment.turn_bytes)
        self._observer.prepare(treatment)

    def _sender(
        self, reply: Reply, pieces: tuple[bytes | Span, ...], plan: Plan, sent: int
    ) -> transfer.ReplyTransfer:
        return transfer.PlainReplyTransfer(
            self._service.scheduler,
            self._socket,
            reply=reply,
            pieces=pieces,
            plan=plan,
            finished=self._on_sent,
            sent=sent,
        )

    def _on_sent(self, why: str) -> None:
        """Note that a reply is out, or why it never will be; go on as the request asked."""
        sending, self._sending = self._sending, None
        assert sending is not None
        if self._exchange.late:
            self._service.row.add(catalogue.ACTIVE_DOWNLOADS, -1)
        gone = self._phase is Phase.CLOSED
        sent = sending.moved
        if sending.error is not None:
            self._fault(sending.error)
        self._record(
            sending.reply,
            sent=sent,
            arrived=0 if sent < ADAPTED_FROM_BYTES else sending.arrived,
            broken=why,
        )
        if gone:
            return
        if why:
            self._close(abort=True)
        elif not self._exchange.keep:
            self._finish(refused=sending.reply.close or self._exchange.body_unread)
        else:
            late = self._exchange.late
            self._exchange = Exchange()
            self._enter(Event.SENT)
            if late:  # else whoever sent the reply is about to look for the next request
                self._advance()

    def _record(self, reply: Reply, *, sent: int, arrived: int, broken: str) -> None:
        """Count and log an exchange, and note what it tells of the client."""
        self._exchange.record(self._service, self._peer, reply, sent=sent, broken=broken)
        self._observer.finished(self._exchange, self._profile_address, reply, arrived=arrived, broken=broken)

    # The end.

    def _finish(self, *, refused: bool) -> None:
        """End the connection after its last reply, so that the reply arrives.

        Bytes that meet a closed socket are answered with a reset, and a reset may overtake the
        reply: RFC 9112 9.6 asks to half-close, then read on for a while.
        """
        service = self._service
        crowded = len(service.connections) > service.max_connections + SPARE_CONNECTIONS
        if self._eof or crowded or (service.draining and not (refused or self._pending)):
            self._close()
            return
        self._enter(Event.SENT_LAST)
        self._pending = b""
        self._window = 0
        self.deadline = service.loop.time() + service.timeouts.linger_s
        self._end_sending()
        self._resume()

    def _end_sending(self) -> None:
        self._transport.write_eof()

    def _close(self, *, abort: bool = False) -> None:
        self._enter(Event.CLOSED)
        self.deadline = NEVER
        if abort:
            # Unsent bytes of a client that does not read would sit in the kernel for minutes.
            # One over TLS may be closed already, and not have told us.
            with contextlib.suppress(OSError, ValueError):
                self._kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def drain(self) -> None:
        """End the connection soon if it is idle, else after its current request.

        Not at once: a request may be on its way, and its answer will say that it was the last.
        """
        if self._phase is Phase.HEAD and not self._pending:
            self._set_idle()

    def abandon(self) -> None:
        """End the connection, whatever it does: the shutdown's patience is over.

        An upload is told so; if that is not out by the next call, it never will be.
        """
        if self._phase is Phase.BODY:
            self._end_body(Refused(errors.DRAINING))
        elif self._phase is not Phase.CLOSED:
            self._close(abort=True)

    def expire(self, now: float) -> None:
        """Do what the passed deadline demands; called by the worker's tick."""
        timeouts = self._service.timeouts
        if self._phase is Phase.HEAD:
            if self._pending:
                self._refuse(Refused(errors.REQUEST_TIMEOUT))
            else:
                self._close()
        elif self._phase is Phase.BODY and self._exchange.body is not None:
            self._expire_body(self._exchange.body, now)
        elif self._sending is not None:
            arrived = self._sending.arrived
            if arrived - self._window < _least(timeouts.min_rate * timeouts.writetimeout_s):
                self._sending.abort("client_stalled")
            else:
                self._window = arrived
                self.deadline = now + timeouts.writetimeout_s
                self._observer.progress(self._exchange, self._profile_address, arrived, time.monotonic())
                self._observer.prepare(self._observer.treatment(self._exchange, self._profile_address))
        elif self._phase is Phase.LINGER:
            self._rounds += 1
            if self._drained == self._window or self._rounds == LINGER_ROUNDS:
                self._close()
            else:
                self._window = self._drained
                self.deadline = now + timeouts.linger_s

    def _expire_body(self, body: RequestBody, now: float) -> None:
        """Refuse the body if its client is too slow; a slow disk is not the client's fault."""
        received = body.received
        least = _least(self._service.timeouts.min_rate * self._window_s)
        slow = received - self._window < least or now >= self._exchange.body_until
        if slow and not (self._aside or body.waits_for_disk):
            self._end_body(Refused(errors.BODY_TOO_SLOW))
        else:
            self._observer.progress(self._exchange, self._profile_address, received, time.monotonic())
            self._window = received
            self._begin_window(body, now)

    # Its state.

    def _enter(self, event: Event) -> None:
        """Move on as the table says; whatever way an upload ends, it is counted no more."""
        before, after = self._phase, TRANSITIONS[self._phase][event]
        self._phase = after
        self.waiting = False
        self._leave_crowd()
        if before is Phase.BODY or after is Phase.BODY:
            self._service.row.add(catalogue.ACTIVE_UPLOADS, 1 if after is Phase.BODY else -1)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()


def _least(wanted: float) -> float:
    """Return the bytes that a window must bring: a minimum rate of 0 still is not "never"."""
    return max(wanted, 1)
