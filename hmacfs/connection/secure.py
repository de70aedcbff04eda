"""A client over TLS: the same connection, but its bytes pass through OpenSSL and the transport.

The transport queues what the socket does not take, so nothing is written while it is over its mark: at most
a turn's bytes, and once more what was encrypted meanwhile, wait for a slow client. Receiving is the base's
own: uvloop decrypts into the memory that the connection lends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hmacfs import transfer
from hmacfs.connection.protocol import HttpProtocol

if TYPE_CHECKING:
    from hmacfs.connection.body import RequestBody
    from hmacfs.connection.context import WorkerContext
    from hmacfs.model import Plan, Reply, Span

_NOBODY: Final = asyncio.BufferedProtocol()


class TlsProtocol(HttpProtocol):
    """The protocol of one socket whose handshake is done."""

    __slots__ = ("_full",)

    def __init__(self, service: WorkerContext, client: str = "") -> None:
        """Make the protocol of a socket about to shake hands."""
        super().__init__(service, client)
        self._full = False  # whether the transport has more than it should

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a socket; answers from memory go to plain ones only."""
        # As low as can be said: pause as soon as something waits, resume when nothing does.
        transport.set_write_buffer_limits(high=1, low=0)  # type: ignore[attr-defined] # of WriteTransport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything, the transport of us too.

        uvloop's SSLProtocol keeps the methods that it calls, so that the two would hold each other, with
        OpenSSL's memory, until the garbage collector came by: 20 MiB more after 1,000 connections.
        """
        super().connection_lost(exc)
        self._transport.set_protocol(_NOBODY)

    def eof_received(self) -> bool:
        """Note the client's close_notify: after it, uvloop sends no more either."""
        super().eof_received()
        return False

    def pause_writing(self) -> None:
        """Note that the transport has enough."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with the reply."""
        self._full = False
        if isinstance(self._sending, transfer.TlsReplyTransfer):
            self._sending.resume()

    def _may_answer_from_memory(self) -> bool:
        return False

    def _receive(
        self,
        pending: bytes,  # noqa: ARG002 - the base's
        body: RequestBody,  # noqa: ARG002 - the base's
        sink: transfer.FileSink,  # noqa: ARG002 - the base's
    ) -> bool:
        """Leave every body to the transport: what comes on the socket is encrypted."""
        return False

    def _write_now(self, data: bytes) -> None:
        self._transport.write(data)

    def _sender(
        self, reply: Reply, pieces: tuple[bytes | Span, ...], plan: Plan, sent: int
    ) -> transfer.ReplyTransfer:
        assert not sent  # nothing was answered from memory
        return transfer.TlsReplyTransfer(
            self._service.scheduler,
            self._kernel,
            self._transport,
            lambda: self._full,
            reply=reply,
            pieces=pieces,
            plan=plan,
            finished=self._on_sent,
        )

    def _finish(self, *, refused: bool) -> None:
        """End the connection; a client that may still be sending is read to its end first.

        TLS knows a half-close, asyncio's does not: so close_notify comes last, and the length of the answer
        tells the client where it ends.
        """
        if refused:
            super()._finish(refused=True)
        else:
            self._close()

    def _end_sending(self) -> None:
        """Keep the way open: see `_finish`."""
