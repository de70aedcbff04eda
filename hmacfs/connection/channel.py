"""The byte stream to one client: a plain socket, or one whose bytes pass through OpenSSL. Knows no HTTP.

A transport reads both. They differ in how bytes leave, in whether a large body may be read from the socket
without the transport, and in what it means that one side sends no more.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from hmacfs import transfer
from hmacfs._descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.model import Plan

_NO_PROTOCOL: Final = asyncio.BufferedProtocol()
# Closes with a reset, and drops what the client has not taken: socket(7), SO_LINGER.
_LINGER_0: Final = struct.pack("ii", 1, 0)


class Channel(abc.ABC):
    """One accepted socket and its transport."""

    half_closes: ClassVar[bool]
    """Whether either side may end its direction alone: answers still reach a client that sends no more."""
    is_plain: ClassVar[bool]
    """Whether the socket itself may be read and written: for answers from memory, and large bodies."""

    __slots__ = ("_paused", "_transport", "closed", "ended", "is_full", "socket")

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take over `transport`, which is connected."""
        self._transport = transport
        # uvloop's stand-in for the socket: it refuses (OSError, ValueError) once that is closed.
        self.socket: socket.socket = transport.get_extra_info("socket")
        self._paused = False
        self.closed = False
        """Whether nothing is to be read or sent any more; `closing` says it of the transport, too."""
        self.ended = False
        """Whether the client sends no more."""
        self.is_full = False
        """Whether the transport has more to write than it should."""

    @property
    def peername(self) -> object:
        """What getpeername(2) gave: a tuple whose first parts are address and port; else anything."""
        return self._transport.get_extra_info("peername")

    @property
    def paused(self) -> bool:
        """Whether the transport does not read."""
        return self._paused

    @property
    def closing(self) -> bool:
        """Whether the transport takes no more bytes: it is closed, or was given up."""
        return self.closed or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Have the transport read no more until `resume_reading`."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Have the transport read again."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close once what was written is out."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once: unsent bytes of a client that does not read would sit in the kernel for minutes."""
        # One over TLS may be closed already, and not have told us.
        with contextlib.suppress(OSError, ValueError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self.drop()

    def drop(self) -> None:
        """Close at once a channel that the client has left."""
        self._transport.abort()

    @abc.abstractmethod
    def open(self) -> None:
        """Set what the transport goes by; it may call the protocol at once, which must have this channel."""

    @abc.abstractmethod
    def write(self, data: bytes) -> int:
        """Write what is taken of `data` now; return how many bytes that is."""

    @abc.abstractmethod
    def end_writing(self) -> None:
        """Send no more, and go on reading, as far as that can be."""

    @abc.abstractmethod
    def reply_transfer(
        self,
        scheduler: transfer.Scheduler,
        rendered: transfer.RenderedReply,
        plan: Plan,
        finished: Callable[[str], None],
    ) -> transfer.ReplyTransfer:
        """Return what sends `rendered`; `finished` is told "" or why it failed."""

    @abc.abstractmethod
    def body_transfer(
        self,
        scheduler: transfer.Scheduler,
        body: transfer.IncomingBody,
        sink: transfer.FileSink,
        first: bytes,
    ) -> transfer.BodyTransfer | None:
        """Return what receives `body`, of which `first` is here, without the transport; None if it must."""

    @abc.abstractmethod
    def release(self) -> None:
        """Let go of what the lost connection had: its descriptor's number is about to be another socket's."""


class PlainChannel(Channel):
    """A socket that is written to directly: the transport is never given bytes, so nothing can overtake."""

    half_closes = True
    is_plain = True

    __slots__ = ("_descriptor",)

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take over `transport`, which is connected."""
        super().__init__(transport)
        self._descriptor = Descriptor(self.socket.fileno(), owned=False)  # the transport's, until `release`

    def open(self) -> None:
        """Do nothing: the transport is given no bytes, so its limits are never reached."""

    def write(self, data: bytes) -> int:
        """Write what the socket takes of `data` now; 0 if it takes nothing, or is closed."""
        with contextlib.suppress(OSError, ValueError):
            return os.write(self._descriptor.fileno(), data)
        return 0

    def end_writing(self) -> None:
        """Half-close; shutdown(2), SHUT_WR."""
        self._transport.write_eof()

    def reply_transfer(
        self,
        scheduler: transfer.Scheduler,
        rendered: transfer.RenderedReply,
        plan: Plan,
        finished: Callable[[str], None],
    ) -> transfer.ReplyTransfer:
        """Return what sends `rendered` by sendfile(2) and write(2)."""
        return transfer.PlainReplyTransfer(scheduler, self._descriptor, rendered, plan, finished)

    def body_transfer(
        self,
        scheduler: transfer.Scheduler,
        body: transfer.IncomingBody,
        sink: transfer.FileSink,
        first: bytes,
    ) -> transfer.BodyTransfer | None:
        """Return what receives `body` from the socket; None if that cannot be watched."""
        self.pause_reading()
        try:
            return transfer.BodyTransfer(scheduler, self._descriptor, body, sink, first)
        except OSError:
            return None

    def release(self) -> None:
        """Let go of the descriptor's number: it is about to be another socket's."""
        self._descriptor.close()


class TlsChannel(Channel):
    """A socket whose bytes pass through OpenSSL and the transport.

    The transport queues what the socket does not take, so nothing is written while it is over its mark: at
    most a turn's bytes, and once more what was encrypted meanwhile, wait for a slow client. Receiving is the
    transport's: uvloop decrypts into the memory that the connection lends.
    """

    half_closes = False
    """TLS knows a half-close, asyncio's does not: close_notify comes last, and the length of an answer says
    where it ends."""
    is_plain = False

    __slots__ = ()

    def open(self) -> None:
        """Have the transport say as soon as something waits, and when nothing does."""
        self._transport.set_write_buffer_limits(high=1, low=0)

    def write(self, data: bytes) -> int:
        """Give `data` to the transport, which keeps what the socket does not take."""
        self._transport.write(data)
        return len(data)

    def writelines(self, data: list[bytes]) -> None:
        """Give all of `data` to the transport."""
        self._transport.writelines(data)

    def end_writing(self) -> None:
        """Keep the way open: see `half_closes`."""

    def reply_transfer(
        self,
        scheduler: transfer.Scheduler,
        rendered: transfer.RenderedReply,
        plan: Plan,
        finished: Callable[[str], None],
    ) -> transfer.ReplyTransfer:
        """Return what gives `rendered` to the transport."""
        return transfer.TlsReplyTransfer(scheduler, self, rendered, plan, finished)

    def body_transfer(
        self,
        scheduler: transfer.Scheduler,  # noqa: ARG002 - the base's
        body: transfer.IncomingBody,  # noqa: ARG002 - the base's
        sink: transfer.FileSink,  # noqa: ARG002 - the base's
        first: bytes,  # noqa: ARG002 - the base's
    ) -> transfer.BodyTransfer | None:
        """Return None: what comes on the socket is encrypted."""
        return None

    def release(self) -> None:
        """Have the transport let go of the protocol.

        uvloop's SSLProtocol keeps the methods that it calls, so that the two would hold each other, with
        OpenSSL's memory, until the garbage collector came by: 20 MiB more after 1,000 connections.
        """
        self._transport.set_protocol(_NO_PROTOCOL)


ChannelType: TypeAlias = type[PlainChannel] | type[TlsChannel]
"""The class of a channel, to be made of a transport."""
