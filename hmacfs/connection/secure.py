"""A client over TLS: the same connection, but its bytes pass through OpenSSL and the transport.

The transport queues what the socket does not take, so nothing is written while it is over its mark: at most
a turn's bytes, and once more what was encrypted meanwhile, wait for a slow client. Receiving is the base's
own: uvloop decrypts into the memory that the connection lends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from hmacfs.connection.protocol import Connection
from hmacfs.model import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs import transfer
    from hmacfs.connection.body import Body
    from hmacfs.connection.protocol import Outgoing
    from hmacfs.connection.service import Service
    from hmacfs.model import Plan, Reply

# Where tcpi_bytes_acked lies in struct tcp_info; linux/tcp.h.
_ACKED: Final = struct.Struct("=120xQ")

_NOBODY: Final = asyncio.BufferedProtocol()


class Secure(Connection):
    """The protocol of one socket whose handshake is done."""

    __slots__ = ("_full",)

    def __init__(self, service: Service, client: str = "") -> None:
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
        if isinstance(self._sending, Sending):
            self._sending.resume()

    @property
    def full(self) -> bool:
        """Whether nothing may be written for now."""
        return self._full

    def _may_answer_from_memory(self) -> bool:
        return False

    def _receive(
        self,
        pending: bytes,  # noqa: ARG002 - the base's
        body: Body,  # noqa: ARG002 - the base's
        sink: transfer.FileSink,  # noqa: ARG002 - the base's
    ) -> bool:
        """Leave every body to the transport: what comes on the socket is encrypted."""
        return False

    def _write_now(self, data: bytes) -> None:
        self._transport.write(data)

    def _sender(self, reply: Reply, pieces: tuple[bytes | Span, ...], plan: Plan, sent: int) -> Sending:
        assert not sent  # nothing was answered from memory
        return Sending(
            self._service, self._transport, self, reply=reply, pieces=pieces, plan=plan, finished=self._sent
        )

    def _arrived(self, sending: Outgoing) -> int:
        """Give how much has arrived; nothing is known of one who is gone, since its socket is, too."""
        return 0 if self._transport.is_closing() else sending.arrived

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


class Sending:
    """One reply on its way through a transport that encrypts; as `transfer.Sending` is for a socket."""

    __slots__ = (
        "_acked",
        "_at",
        "_budget",
        "_current",
        "_finished",
        "_link",
        "_pieces",
        "_service",
        "_sock",
        "_stopped",
        "_transport",
        "_waiting",
        "moved",
        "reply",
    )

    def __init__(  # noqa: PLR0913 - one call site; each is a different noun
        self,
        service: Service,
        transport: asyncio.Transport,
        link: Secure,
        *,
        reply: Reply,
        pieces: tuple[bytes | Span, ...],
        plan: Plan,
        finished: Callable[[str], None],
    ) -> None:
        """Prepare to send `pieces`; `finished` is told "" or in a word why it failed."""
        self._service = service
        self._transport = transport
        self._link = link
        self._sock = transport.get_extra_info("socket")
        self._pieces = pieces
        self._current = 0  # the piece that is being sent
        self._at = 0  # how much of it is out
        self._budget = plan.budget
        self._finished = finished
        self._stopped = False
        self._waiting = False
        self.reply = reply
        self.moved = 0
        self._acked = self._acknowledged()

    @property
    def arrived(self) -> int:
        """Bytes acknowledged since the beginning, those of TLS included."""
        return self._acknowledged() - self._acked

    def _acknowledged(self) -> int:
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
        except OSError:  # it is closed
            return 0
        return int(_ACKED.unpack(info)[0])

    def run(self) -> None:
        """Send one turn's worth, and see to it that the next turn comes."""
        if self._stopped:
            return
        if self._transport.is_closing():
            self._end("client_gone")
        elif self._link.full:
            self._waiting = True
        elif self._current == len(self._pieces):
            self._end("")
        else:
            self._step()

    def resume(self) -> None:
        """Go on if it was waited for."""
        if self._waiting:
            self._waiting = False
            self.run()

    def _step(self) -> None:
        slab = self._service.send_slab[: self._budget]
        try:
            filled = self._fill(slab)
        except OSError:  # of the file's disk: the head is out, so it cannot be answered any more
            self._end("storage_failed")
            return
        if filled == 0 and self._current < len(self._pieces):
            self._end("file_shrunk")
            return
        self._transport.write(slab[:filled])
        self.moved += filled
        if self._current == len(self._pieces) and not self._link.full:
            self._end("")
        else:
            self._service.loop.call_soon(self.run)

    def _fill(self, slab: memoryview) -> int:
        """Put what comes next into `slab`; less than fits only at the end of the reply, or of the file."""
        filled = 0
        while filled < len(slab) and self._current < len(self._pieces):
            piece = self._pieces[self._current]
            left = (piece.length if isinstance(piece, Span) else len(piece)) - self._at
            into = slab[filled : filled + left]
            if isinstance(piece, Span):
                assert self.reply.file is not None
                took = os.preadv(self.reply.file.fd, [into], piece.start + self._at)
                if took == 0:
                    return filled
            else:
                took = len(into)
                into[:] = piece[self._at : self._at + took]
            filled += took
            self._at += took
            if took == left:
                self._current += 1
                self._at = 0
        return filled

    def abort(self, why: str) -> None:
        """Stop where it is: the client is gone, stalled, or the server must end."""
        if not self._stopped:
            self._end(why)

    def _end(self, why: str) -> None:
        self._stopped = True
        if self.reply.file is not None:
            os.close(self.reply.file.fd)
        self._finished(why)
