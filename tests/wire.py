"""A client that sends bytes as they are and reads whatever comes back, answer by answer."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import serving
from serving import Answer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from serving import Server

PATIENCE_S = 60.0
BODILESS = frozenset({204, 304})


class BrokenError(Exception):
    """What came is no HTTP answer, or an answer was cut off."""


def take(data: bytes, method: str = "GET") -> tuple[Answer, bytes] | None:
    """Return the first answer in `data` and the rest; None if it is not whole yet. Raises BrokenError."""
    top, end, rest = data.partition(b"\r\n\r\n")
    if not b"HTTP/1.1 ".startswith(data[:9]):
        raise BrokenError(data[:200])
    if not end:
        return None
    first, *lines = top.decode("ascii").split("\r\n")
    status = int(first.split(" ")[1])
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        fields[name.lower()] = f"{fields[name.lower()]}, {value}" if name.lower() in fields else value
    length = int(fields.get("content-length", 0))
    if method == "HEAD" or status in BODILESS or status < 200:
        length = 0
    if len(rest) < length:
        return None
    serving.assert_not_spoilt(rest)
    return Answer(status, fields, rest[:length]), rest[length:]


class Wire:
    """One connection to a server."""

    def __init__(self, server: Server) -> None:
        """Connect, and send every piece at once."""
        self.sock = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes, piece: int = 0) -> None:
        """Send all of `data`, in pieces of `piece` bytes if that is not 0.

        A server that has closed is no fault here: what it said before can be read all the same.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if not piece:
                self.sock.sendall(data)
                return
            for at in range(0, len(data), piece):
                self.sock.sendall(data[at : at + piece])

    def finish(self) -> None:
        """Say that nothing more comes."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def read(self, method: str = "GET") -> Answer | None:
        """Return the next answer; None at the clean end of the connection.

        Raises BrokenError, TimeoutError if nothing comes, ConnectionResetError.
        """
        while (taken := take(self._data, method)) is None:
            if not self._more():
                if self._data:
                    raise BrokenError(self._data[:200])
                return None
        answer, self._data = taken
        return answer

    def expect(self, method: str = "GET") -> Answer:
        """Return the next answer, which must come."""
        answer = self.read(method)
        assert answer is not None, "the connection ended without an answer"
        return answer

    def rest(self) -> bytes:
        """Return all that still comes until the connection ends."""
        while self._more():
            pass
        return self._data

    def silent(self) -> bool:
        """Say whether nothing has come that was not read yet."""
        self.sock.setblocking(False)
        try:
            self._more()
        except BlockingIOError:
            pass
        finally:
            self.sock.settimeout(PATIENCE_S)
        return not self._data

    def _more(self) -> bool:
        data = b"" if self.ended else self.sock.recv(1 << 20)
        self.ended = not data
        self._data += data
        return bool(data)


def settle(server: Server) -> None:
    """Wait until no client is connected any more; then assert that nothing went wrong inside."""
    deadline = time.monotonic() + PATIENCE_S
    while server.scrape()["hmacfs_connections"]:
        assert time.monotonic() < deadline, "connections are left over"
    assert not failures(server)


def failures(server: Server) -> list[dict[str, object]]:
    """Return the log lines that tell of faults of the server's own."""
    bad = {"request-failed", "background-failed", "worker-died", "not-json"}
    return [line for line in server.events if line["event"] in bad]
