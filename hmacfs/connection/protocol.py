"""One client: bytes to Head, Reply to bytes, keep-alive, limits and timeouts.

Laws this file keeps:
- Answers leave in the order of the requests, since the next head is looked at only after the
  last answer is out; meanwhile at most one buffer of bytes is held and reading stops.
- A request whose body was not read to its end is the connection's last (RFC 9112 9.3).
- The transport is never given bytes: `transfer.Sending` writes to the socket itself.
- A refusal reaches the client: whole answer, half-close, bounded drain, close (RFC 9112 9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import socket
import struct
import time
import typing
from typing import TYPE_CHECKING, Final

from hmacfs import errors, metrics, transfer
from hmacfs.connection.body import Body
from hmacfs.errors import Refused
from hmacfs.http import head as heads
from hmacfs.http import reply as replies
from hmacfs.metrics import tally
from hmacfs.model import Facts, Head, Reply
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hmacfs.connection.service import Service
    from hmacfs.model import Plan, Span

# A refused client that goes on sending is listened to for so many times linger_s, as long as it is
# never silent for one; nginx: lingering_timeout 5s, lingering_time 30s.
LINGER_ROUNDS: Final = 6

# While the server drains, an idle connection is kept this long for a request that is on its way, as by
# nginx's keepalive_min_timeout: closing at once would lose it.
LAST_CALL_S: Final = 1.0

# How many connections above the limit are ended in stages; each holds a descriptor meanwhile.
SPARE_CONNECTIONS: Final = 32

NEVER: Final = float("inf")
BODY_METHODS: Final = frozenset({"PUT", "POST"})


class Phase(enum.Enum):
    """Where a connection is in its life."""

    HEAD = "head"  # waiting for a request, or for the rest of its head
    ANSWER = "answer"  # the request is being worked on, or its reply sent
    BODY = "body"  # body bytes flow into a sink
    LINGER = "linger"  # the last reply is out; what still comes is thrown away
    CLOSED = "closed"


class Connection(asyncio.BufferedProtocol):
    """The protocol of one accepted socket."""

    __slots__ = (
        "_body",
        "_checked",
        "_dialect",
        "_drained",
        "_eof",
        "_head",
        "_head_bytes",
        "_keep",
        "_late",
        "_paused",
        "_peer",
        "_pending",
        "_phase",
        "_request_id",
        "_rounds",
        "_sending",
        "_service",
        "_sock",
        "_started",
        "_transport",
        "_window",
        "deadline",
    )

    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        """Make the protocol of a socket about to be accepted."""
        self._service = service
        self._sock = transfer.NO_FILE
        self._peer = ""
        self._phase = Phase.HEAD
        self._pending = b""  # received, not yet looked at or not yet a whole head
        self._checked = 0  # how much of `_pending` cannot hold the end of a head
        self._paused = False
        self._eof = False
        self._drained = 0  # bytes thrown away since the last reply
        self._rounds = 0  # times that the end was put off because some came
        self.deadline = NEVER  # loop time at which `expire` must look
        self._reset()

    def _reset(self) -> None:
        """Forget the last request."""
        self._head: Head | None = None
        self._dialect = ""
        self._request_id = ""
        self._keep = True
        self._started = 0.0
        self._body: Body | None = None
        self._head_bytes = 0
        self._window = 0  # bytes moved when the current timeout window began
        self._sending: transfer.Sending | None = None
        self._late = False  # whether the reply outlived the turn in which it was begun

    # What uvloop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over an accepted socket, or turn it away if there are too many."""
        self._transport = typing.cast("asyncio.Transport", transport)  # uvloop's are not registered
        service = self._service
        sock = transport.get_extra_info("socket")
        self._sock = sock.fileno()
        peer = transport.get_extra_info("peername")
        self._peer = _name(peer) if isinstance(peer, tuple) else "unix"
        service.connections.add(self)
        service.row.add(metrics.CONNECTIONS)
        service.row.add(metrics.ACCEPTED_CONNECTIONS)
        self._set_idle()
        if len(service.connections) > service.max_connections:
            self._refuse(Refused(errors.TOO_MANY_CONNECTIONS))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - uvloop's guess, not ours
        """Lend the worker's slab for one read: little of it until a body is expected."""
        if self._phase is Phase.BODY and self._body is not None and self._body.plan is not None:
            return self._service.slab[: self._body.plan.slab]
        if self._phase is Phase.LINGER:
            return self._service.slab
        return self._service.slab[: buffers.HEAD_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Consume what was read into the slab, before anyone else may use it."""
        data = self._service.slab[:nbytes]
        if self._phase is Phase.BODY:
            self._read_body(data)
            if self._phase is Phase.BODY and nbytes == len(self.get_buffer(nbytes)):
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

    def eof_received(self) -> bool:
        """Note that the client sends no more; keep the way to it open while an answer is due."""
        self._eof = True
        if self._phase is Phase.BODY:
            self._break_body(Refused(errors.BODY_INCOMPLETE))
            return True
        if self._phase is Phase.ANSWER:
            # Requests that wait behind this one are answered too: half-closing is how a client of
            # few words says that it has asked everything (RFC 9112 9.6).
            self._keep = self._keep and bool(self._pending)
            return True
        self._phase = Phase.CLOSED
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reply's fate is logged
        """Let go of everything; a commit that has begun goes on to its end."""
        self._break_body(Refused(errors.BODY_INCOMPLETE))
        self._phase = Phase.CLOSED
        self._eof = True
        self.deadline = NEVER
        if self._sending is not None:
            self._sending.abort("client_gone")
        self._service.connections.discard(self)
        self._service.row.add(metrics.CONNECTIONS, -1)

    # Requests.

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
        if self._started == 0.0:
            self._started = time.monotonic()
            self.deadline = self._service.loop.time() + self._service.timeouts.headertimeout_s
        self._resume()

    def _begin(self, raw: bytes) -> None:
        """Parse one head and start its answer; a plain GET is finished on return."""
        service = self._service
        self._started = time.monotonic()
        self._request_id = service.next_id()
        self._head_bytes = len(raw)
        self._phase = Phase.ANSWER
        self.deadline = NEVER
        try:
            head = self._head = heads.parse(raw, service.head_limits)
            self._keep = head.keep_alive and not (self._eof and not self._pending)
            if head.method in BODY_METHODS or head.has_body:
                self._body = Body(head, service.app.max_body_bytes)
            answer = service.app.answer(head, self)
        except Refused as refused:
            self._head = self._head or refused.head
            self._respond(service.app.refuse(refused, self._head, self._request_id), raw)
        except Exception as error:  # noqa: BLE001 - the border: a fault of ours must not end the worker
            self._respond(self._fault(error))
        else:
            if isinstance(answer, Reply):
                self._respond(answer)
            else:
                task = service.loop.create_task(self._work(answer))
                service.tasks.add(task)
                task.add_done_callback(self._worked)

    async def _work(self, answer: Coroutine[None, None, Reply]) -> None:
        """See an answer through that cannot be given at once."""
        app = self._service.app
        try:
            reply = await answer
        except Refused as refused:
            reply = app.refuse(refused, self._head, self._request_id)
        except Exception as error:  # noqa: BLE001 - the border, as in `_begin`
            reply = self._fault(error)
        self._respond(reply)
        self._advance()

    def _worked(self, task: asyncio.Task[None]) -> None:
        """Let go of `_work`; if it failed to send a reply, nothing else ever would."""
        self._service.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._service.log.event("error", "request-failed", request_id=self._request_id, error=repr(error))
            if self._phase is not Phase.CLOSED:
                self._close(abort=True)

    def _fault(self, error: Exception) -> Reply:
        self._service.log.event("error", "request-failed", request_id=self._request_id, error=repr(error))
        return self._service.app.refuse(Refused(errors.INTERNAL), self._head, self._request_id)

    def _refuse(self, refused: Refused) -> None:
        """Answer something that never became a request, and end the connection."""
        self._phase = Phase.ANSWER
        self._keep = False
        self._request_id = self._service.next_id()
        self._started = self._started or time.monotonic()
        self._head_bytes = len(self._pending)
        self._respond(self._service.app.refuse(refused, None, self._request_id), self._pending)

    # Bodies: this side of `app.Link`.

    @property
    def peer(self) -> str:
        """Address and port of the peer, or "unix"."""
        return self._peer

    def grant(self, dialect: str) -> None:
        """Note which token dialect let the request in, and send 100 Continue if it is awaited.

        RFC 9110 10.1.1: only now is it known that the body is wanted.
        """
        self._dialect = dialect
        if self._phase is Phase.CLOSED:
            return  # by now the descriptor's number may be another client's
        if self._head is not None and self._head.expect_continue and not self._pending:
            # Straight to the socket, as the reply will be. If it is full, the client has sent
            # requests ahead of unread answers and is not waiting.
            with contextlib.suppress(OSError):
                os.write(self._sock, replies.CONTINUE)

    def pour(self, sink: transfer.Sink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`; the future ends with the body. Refused if it breaks off."""
        service = self._service
        body = self._body
        assert body is not None
        poured = body.pour(service.loop, sink, plan)
        pending, self._pending = self._pending, b""
        self._read_body(memoryview(pending))
        if body.flowing and self._eof:
            body.end(Refused(errors.BODY_INCOMPLETE))
        elif body.flowing:
            self._phase = Phase.BODY
            service.row.add(metrics.ACTIVE_UPLOADS)
            self._window = body.received
            self.deadline = service.loop.time() + service.timeouts.readtimeout_s
            self._resume()
        return poured

    def _read_body(self, data: memoryview) -> None:
        """Pass on the bytes of `data` that belong to the body and keep the rest."""
        assert self._body is not None
        self._pending = self._body.take(data) or b""
        if not self._body.flowing:
            self._leave_body()

    def _break_body(self, refused: Refused) -> None:
        if self._body is not None:
            self._body.end(refused)
        self._leave_body()

    def _leave_body(self) -> None:
        if self._phase is Phase.BODY:
            self._phase = Phase.ANSWER
            self._service.row.add(metrics.ACTIVE_UPLOADS, -1)
            self.deadline = NEVER

    @property
    def _body_unread(self) -> bool:
        return self._body is not None and (self._body.unread or self._body.broken)

    # Replies.

    def _respond(self, reply: Reply, raw: bytes = b"") -> None:
        """Send `reply`; on return it may be out already. `raw` is what came where no Head came of it."""
        service = self._service
        if self._phase is Phase.CLOSED or self._transport.is_closing():
            if reply.file is not None:
                os.close(reply.file.fd)
            self._record(reply, 0, "client_gone")
            return
        if reply.close or self._body_unread or service.draining:
            self._keep = False
        head = self._head
        first = replies.render(
            reply, head, request_id=self._request_id, date=service.date, keep_alive=self._keep
        )
        pieces: tuple[bytes | Span, ...] = (first,)
        # What begins as HEAD gets no body whatever is wrong with it (RFC 9110 9.3.2).
        if replies.sends_body(reply, head) and not (head is None and raw.startswith(b"HEAD ")):
            pieces = (first, *reply.pieces)
        self._window = 0
        self.deadline = service.loop.time() + service.timeouts.writetimeout_s
        beside = service.row.read(metrics.ACTIVE_DOWNLOADS)
        plan = buffers.for_download(Facts(length=reply.length, beside=beside))
        self._sending = transfer.Sending(
            service.loop, self._sock, reply=reply, pieces=pieces, plan=plan, finished=self._sent
        )
        self._sending.run()
        self._late = self._sending is not None
        if self._late:
            service.row.add(metrics.ACTIVE_DOWNLOADS)

    def _sent(self, why: str) -> None:
        """Note that a reply is out, or why it never will be; go on as the request asked."""
        sending, self._sending = self._sending, None
        assert sending is not None
        if self._late:
            self._service.row.add(metrics.ACTIVE_DOWNLOADS, -1)
        self._record(sending.reply, sending.moved, why)
        if self._phase is Phase.CLOSED:
            return
        if why:
            self._close(abort=True)
        elif not self._keep:
            self._finish(refused=sending.reply.close or self._body_unread)
        else:
            late = self._late
            self._reset()
            self._phase = Phase.HEAD
            if late:  # else whoever sent the reply is about to look for the next request
                self._advance()

    def _record(self, reply: Reply, sent: int, why: str) -> None:
        """Count and log one request: the one seam for both."""
        service = self._service
        head = self._head
        method = "other" if head is None else head.method
        body_bytes = 0 if self._body is None else self._body.received
        received = self._head_bytes + body_bytes
        elapsed_s = time.monotonic() - self._started
        tally.request(
            service.row,
            method=method,
            status=reply.status,
            code=reply.code,
            dialect=self._dialect,
            received=received,
            stored=body_bytes,
            sent=sent,
            elapsed_s=elapsed_s,
            broken=why,
        )
        service.log.request(
            request_id=self._request_id,
            client=self._peer,
            method=method,
            target=b"" if head is None else head.target,
            status=reply.status,
            code=reply.code,
            received=received,
            sent=sent,
            elapsed_s=elapsed_s,
            dialect=self._dialect,
            broken=why,
            detail=reply.detail,
        )

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
        self._phase = Phase.LINGER
        self._pending = b""
        self._window = 0
        self.deadline = service.loop.time() + service.timeouts.linger_s
        self._transport.write_eof()
        self._resume()

    def _close(self, *, abort: bool = False) -> None:
        self._phase = Phase.CLOSED
        self.deadline = NEVER
        if abort:
            # Unsent bytes of a client that does not read would sit in the kernel for minutes.
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
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
            self._break_body(Refused(errors.DRAINING))
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
        elif self._phase is Phase.BODY and self._body is not None:
            received = self._body.received
            if received - self._window < _least(timeouts.min_rate * timeouts.readtimeout_s):
                self._break_body(Refused(errors.BODY_TOO_SLOW))
            else:
                self._window = received
                self.deadline = now + timeouts.readtimeout_s
        elif self._sending is not None:
            arrived = self._sending.arrived
            if arrived - self._window < _least(timeouts.min_rate * timeouts.writetimeout_s):
                self._sending.abort("client_stalled")
            else:
                self._window = arrived
                self.deadline = now + timeouts.writetimeout_s
        elif self._phase is Phase.LINGER:
            self._rounds += 1
            if self._drained == self._window or self._rounds == LINGER_ROUNDS:
                self._close()
            else:
                self._window = self._drained
                self.deadline = now + timeouts.linger_s

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()


def _least(wanted: float) -> float:
    """Give the bytes that a window must bring: a minimum rate of 0 still is not "never"."""
    return max(wanted, 1)


def _name(peer: tuple[str, int]) -> str:
    """Give an address as a person would write it; getpeername(2) of IPv6 has four parts."""
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
