"""A transport driven by hand on a loop whose clock the test sets: a connection without a process.

The socket below is real, since bodies and replies may go past the transport; the other end is the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import serving
import stages
from manual_loop import ManualLoop

from hmacfs.connection import HttpProtocol
from hmacfs.connection.channel import ChannelType, PlainChannel
from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving import Answer
    from workbench import Workbench

P = ParamSpec("P")
T = TypeVar("T")

MOST_ROUNDS = 400
PATIENCE_S = 5.0


class FakeTransport(asyncio.Transport):
    """Reads when told to, and calls the protocol as uvloop's transports do."""

    def __init__(self, loop: ManualLoop, protocol: HttpProtocol, sock: socket.socket, peer: object) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = protocol
        self._sock = sock
        self._peer = peer
        self._closing = False
        self._high = 64 * KiB
        self._reads = True
        self.http = protocol
        self.aborted = False
        self.given: list[bytes] = []
        """What was written through the transport and is not on the socket: it encrypts, and is held back."""
        self.holds_back = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self._sock, "peername": self._peer}.get(name, default)

    def read(self, count: int = 1_000_000) -> bool:
        """Read what has come, up to `count` bytes, and give it to the protocol; return whether it had any."""
        if not self._reads or self._closing:
            return False
        buffer = memoryview(self.http.get_buffer(-1))[:count]
        try:
            got = self._sock.recv_into(buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return True
        if got:
            self.http.buffer_updated(got)
        else:
            self._reads = False
            if not self.http.eof_received():
                self.close()
        return True

    def pause_reading(self) -> None:
        assert self._reads
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def is_reading(self) -> bool:
        return self._reads and not self._closing

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert low == 0
        self._high = high or 0
        self._tell()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.given.append(bytes(data))
        self._tell()
        if not self.holds_back:
            self.release()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def release(self) -> None:
        """Send what was held back."""
        data, self.given = b"".join(self.given), []
        self._sock.sendall(data)
        if self._high <= len(data):
            self.http.resume_writing()

    def _tell(self) -> None:
        if sum(map(len, self.given)) >= self._high:
            self.http.pause_writing()

    def write_eof(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._lose(None)

    def abort(self) -> None:
        self.aborted = True
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        self.http.connection_lost(error)
        del self.http, self._protocol  # as uvloop's do
        self._sock.close()


class _Nothing:
    """A source from which no more comes."""

    def recv(self, _: int, /) -> bytes:
        return b""


class FakeClient:
    """One connection of a workbench whose loop is a `ManualLoop`, and the client at its other end."""

    def __init__(
        self, bench: Workbench, channel: ChannelType = PlainChannel, *, named: str = "", buffer: int = 0
    ) -> None:
        assert isinstance(bench.loop, ManualLoop)
        self.bench, self.loop = bench, bench.loop
        self.received = b""
        self.ended = False
        self.was_reset = False
        self.is_gone = False
        self.holds_threads = False
        """Whether the disk's threads wait until the test runs them."""
        ours, self.sock = stages.tcp_pair()
        for sock in (ours, self.sock):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.http = HttpProtocol(bench.service, named, channel)
        self.transport = FakeTransport(self.loop, self.http, ours, ours.getpeername())
        bench.at_end.callback(self.close)

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in the loop, as all that a protocol is told."""

        async def called() -> T:
            return work(*args, **kwargs)

        return self.loop.run_until_complete(called())

    def connect(self) -> None:
        """Have the transport tell the protocol that it is there."""
        self.call(self.http.connection_made, self.transport)

    def read(self) -> bool:
        """Have the transport read once; return whether it had anything."""
        return self.call(self.transport.read)

    @property
    def is_open(self) -> bool:
        """Whether the server still has the connection."""
        return self.http in self.bench.service.connections

    def send(self, data: bytes) -> None:
        """Send all of `data`, as fast as the server takes it."""
        for _ in range(MOST_ROUNDS):
            if not data:
                break
            with contextlib.suppress(BlockingIOError):
                data = data[self.sock.send(data) :]
            self.go()
        assert not data, "the server takes no more"
        self.go()

    def go(self) -> None:
        """Let the transport read and the loop go round until nothing happens any more."""
        idle = 0
        for _ in range(MOST_ROUNDS):
            moved = self.read()
            self.bench.turn(2)
            while self.bench.threads.jobs and not self.holds_threads:
                self.bench.threads.run(0)
                moved = True
            idle = 0 if moved or self.take() else idle + 1
            if idle == 4:
                return
        raise AssertionError("it never comes to rest")

    def take(self) -> bool:
        """Receive what the server has sent; return whether there was any."""
        try:
            data = self.sock.recv(1_000_000)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.received += data
        self.ended = self.ended or not data
        return bool(data)

    def answers(self, count: int, *methods: str) -> list[Answer]:
        """Wait for `count` answers, to requests with these methods (GET), and return them."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found: list[Answer] = []
            rest = self.received
            with contextlib.suppress(EOFError):
                while rest:
                    method = methods[len(found)] if len(found) < len(methods) else "GET"
                    answer, rest = serving.take_answer(_Nothing(), rest, method)
                    found.append(answer)
            if len(found) >= count:
                assert len(found) == count, found
                return found
            assert not self.ended, (found, self.received[-300:])
            assert time.monotonic() < deadline, (found, self.received[-300:])
            self.go()

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Let the connection go on until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, self.received[-300:]
            self.go()

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, and do what the worker's tick does for this connection."""
        self.loop.now += seconds
        if self.is_open and self.http.deadline <= self.loop.now:
            self.call(self.http.expire, self.loop.now)
        self.go()

    def leave(self) -> None:
        """Leave, and keep nothing of the server's."""
        self.close()
        self.bench.until(lambda: not self.bench.service.tasks, "the end of its answers")
        self.is_gone = True
        del self.http

    def close(self) -> None:
        """Leave, and wait until nothing of it is worked on."""
        if self.is_gone:
            return
        self.sock.close()
        self.call(self.transport.abort)
        self.bench.until(lambda: not self.is_open, "the end of the connection")
