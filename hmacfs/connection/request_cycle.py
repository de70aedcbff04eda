"""One request from its head to its reply: asks the application, and is what that sees of the client.

It ends when the connection has the reply. A commit that has begun goes on to its end, also if the client is
gone by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hmacfs import errors
from hmacfs.connection.body import RequestBody
from hmacfs.connection.body_receiver import BodyReceiver
from hmacfs.connection.eager_task import EagerTask
from hmacfs.errors import Refused
from hmacfs.http import head as heads
from hmacfs.http import reply as replies
from hmacfs.model import BODY_METHODS, Reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hmacfs.connection.channel import Channel
    from hmacfs.connection.context import WorkerContext
    from hmacfs.connection.exchange import Exchange
    from hmacfs.connection.observer import TransferObserver
    from hmacfs.connection.reply_writer import ReplyWriter
    from hmacfs.model import Plan
    from hmacfs.policy import chunks
    from hmacfs.transfer import BodySink


class RequestConnection(Protocol):
    """The connection that a request came on."""

    context: WorkerContext

    @property
    def channel(self) -> Channel:
        """The byte stream to the client."""

    observer: TransferObserver
    writer: ReplyWriter
    client: bytes
    """The peer as the log shows it."""
    vouch: Callable[[bytes | None, bytes | None], bytes] | None
    """Finds the client that a request names (X-Forwarded-For, Forwarded); None if it may name none."""
    trusted: bool
    """Whether the peer is one of our own proxies."""
    pending: bytes
    """What came behind the head, or behind the body."""

    def on_body_wanted(self, receiver: BodyReceiver) -> None:
        """Give `receiver` what comes, until `on_body_ended`."""

    def on_body_ended(self) -> None:
        """Go on without a body: it is whole, or was given up."""

    def respond(self, reply: Reply, raw: bytes = b"") -> None:
        """Send `reply`; `raw` is what came where no Head came of it."""

    def advance(self) -> None:
        """Look for the next request."""

    def abort(self) -> None:
        """Close the connection at once, if it is not closed."""


class RequestCycle:
    """One request of a connection; `app.ClientConnection` for the application."""

    __slots__ = ("_connection", "_exchange", "_receiver")

    def __init__(self, connection: RequestConnection, exchange: Exchange) -> None:
        """Answer a request on `connection`; what is known of it goes into `exchange`."""
        self._connection = connection
        self._exchange = exchange
        self._receiver: BodyReceiver | None = None

    def start(self, raw: bytes) -> None:
        """Parse the head `raw` and start its answer; that of a plain GET is out on return."""
        connection, exchange = self._connection, self._exchange
        context = connection.context
        try:
            head = exchange.head = heads.parse(raw, context.head_limits)
            if connection.vouch is not None:
                exchange.resolve_client(connection.vouch, connection.client)
            exchange.keep = head.keep_alive and not (connection.channel.ended and not connection.pending)
            if head.method in BODY_METHODS or head.has_body:
                exchange.body = RequestBody(head, context.app.max_body_bytes)
            answer = context.app.answer(head, self)
        except Refused as refused:
            exchange.head = exchange.head or refused.head
            refused.__traceback__ = None  # its frames hold it, and this connection
            connection.respond(context.app.refuse(refused, exchange.head, exchange.request_id), raw)
        except Exception as error:  # noqa: BLE001 - the border: a fault of ours must not end the worker
            connection.respond(self._fault(error))
        else:
            if isinstance(answer, Reply):
                connection.respond(answer)
            else:
                task = EagerTask(answer, self._on_response)
                context.tasks.add(task)
                task.run()
                task.late = True

    def _on_response(self, task: EagerTask, outcome: Reply | BaseException) -> None:
        """Send what came of an answer that could not be given at once."""
        connection, exchange = self._connection, self._exchange
        context = connection.context
        context.tasks.discard(task)
        try:
            if isinstance(outcome, Refused):
                outcome.__traceback__ = None  # its frames hold it, and this connection
                outcome = context.app.refuse(outcome, exchange.head, exchange.request_id)
            elif isinstance(outcome, BaseException):
                outcome = self._fault(outcome)
            connection.respond(outcome)
            if task.late:  # else the connection is about to look for the next request
                connection.advance()
        except Exception as error:  # noqa: BLE001 - the border: if this sends no reply, nothing else ever would
            exchange.log_fault(context.log, error)
            connection.abort()

    def _fault(self, error: BaseException) -> Reply:
        context, exchange = self._connection.context, self._exchange
        exchange.log_fault(context.log, error)
        return context.app.refuse(Refused(errors.INTERNAL), exchange.head, exchange.request_id)

    # The client as the application sees it.

    @property
    def peer(self) -> str:
        """Address and port of the client, or "unix"."""
        return self._exchange.peer

    @property
    def trusted(self) -> bool:
        """Whether the peer is one of our own proxies, which may be told to send a file itself."""
        return self._connection.trusted

    def authorize(self, dialect: str, owner: str = "") -> None:
        """Note which token dialect let the request in, and send 100 Continue if it is awaited.

        `owner` is whom the token names as uploader. RFC 9110 10.1.1: only now is it known that the body is
        wanted.
        """
        exchange = self._exchange
        exchange.dialect = dialect
        exchange.owner = owner
        if exchange.head is not None and exchange.head.expect_continue and not self._connection.pending:
            self.send_interim(replies.CONTINUE)

    def advise(self, upload: chunks.ChunkedUpload) -> int:
        """Return how many bytes the client should send of `upload` in its next request."""
        return self._connection.observer.advise(self._exchange, upload)

    def send_interim(self, interim: bytes) -> None:
        """Send an interim answer (RFC 9110 15.2)."""
        connection = self._connection
        if not connection.channel.closed:  # else the descriptor's number may be another client's
            connection.writer.write_interim(self._exchange, interim)

    def receive_into(self, sink: BodySink, plan: Plan) -> asyncio.Future[None]:
        """Let the body flow into `sink`; the future ends with the body. Refused if it breaks off."""
        connection = self._connection
        receiver = self._receiver = BodyReceiver(
            connection.context,
            connection.channel,
            self._exchange,
            connection.observer,
            connection.on_body_ended,
        )
        pending, connection.pending = connection.pending, b""
        poured = receiver.start(sink, plan, pending)
        if not receiver.flowing:
            connection.pending = receiver.rest
        elif not connection.channel.closed:
            connection.on_body_wanted(receiver)
        return poured

    def abort_body(self, refused: Refused) -> None:
        """End the body that is being received, if it is: whatever waits for it is `refused`."""
        if self._receiver is not None and self._receiver.flowing:
            self._receiver.end(refused)

    @property
    def trailer(self) -> bytes | None:
        """Upload-Checksum, if it followed the body that was received."""
        body = self._exchange.body
        return None if body is None else body.trailer
