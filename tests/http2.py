"""An upload by HTTP/2, frame by frame, that counts how often it must wait for the other side (RFC 9113).

Nothing is timed: how long a link takes is not asked, but how many times it must be crossed.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE_S: Final = 60.0
FRAME_BYTES: Final = 16_384  # the least that every peer takes (RFC 9113 4.2)
WINDOW_BYTES: Final = 65_535  # before a peer says otherwise (RFC 9113 6.9.2)
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE: Final = 4
STREAM: Final = 1


class Sink:
    """A server of HTTP/1.1 that takes one upload and knows how much of it has come."""

    def __init__(self) -> None:
        """Listen where the system says."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self._come = threading.Condition()
        self._received = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def wait_for(self, count: int) -> None:
        """Return once so many bytes of the body have come."""
        with self._come:
            assert self._come.wait_for(lambda: self._received >= count, PATIENCE_S), (self._received, count)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(PATIENCE_S)

    def _serve(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        with sock:
            sock.settimeout(PATIENCE_S)
            data = b""
            while b"\r\n\r\n" not in data:
                data += sock.recv(65_536)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            self._note(len(body))
            while self._received < length and (more := sock.recv(65_536)):
                self._note(len(more))
            sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    def _note(self, count: int) -> None:
        with self._come:
            self._received += count
            self._come.notify_all()


class Client:
    """One connection and one upload."""

    def __init__(self, address: str, name: str, certificate: Path) -> None:
        """Connect, agree on HTTP/2 and hear of the server's window."""
        host, _, port = address.rpartition(":")
        trust = ssl.create_default_context(cafile=str(certificate))
        trust.set_alpn_protocols(["h2"])
        plain = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._sock = trust.wrap_socket(plain, server_hostname=name)
        assert self._sock.selected_alpn_protocol() == "h2"
        self._data = b""
        self._connection = WINDOW_BYTES
        self._stream = self._initial = WINDOW_BYTES
        self._sock.sendall(PREFACE + _frame(SETTINGS, 0, 0, b""))
        while self._hear() != SETTINGS:
            pass
        self._ping()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def upload(self, fields: Mapping[str, str], size: int, sink: Sink) -> int:
        """Send `size` bytes; return how often the windows were used up and had to be waited for."""
        # RFC 7541 6.2.2: a field that is written out and not remembered.
        block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields.items())
        self._sock.sendall(_frame(HEADERS, END_HEADERS, STREAM, block))
        sent = waited = 0
        while sent < size:
            count = min(self._connection, self._stream, FRAME_BYTES, size - sent)
            if count > 0:
                sent += count
                flags = END_STREAM if sent == size else 0
                self._sock.sendall(_frame(DATA, flags, STREAM, bytes(count)))
                self._connection -= count
                self._stream -= count
                continue
            waited += 1
            # A link crossed once: all has arrived there, and what it lets follow comes back together.
            sink.wait_for(sent)
            self._ping()
            while min(self._connection, self._stream) <= 0:
                self._hear()
        while self._hear() != HEADERS:
            pass
        return waited

    def _ping(self) -> None:
        """Hear whatever the server has said before it hears of this."""
        self._sock.sendall(_frame(PING, 0, 0, bytes(8)))
        while self._hear() != PING:
            pass

    def _hear(self) -> int:
        """Read a frame and heed it; return its type."""
        (length,) = struct.unpack(">I", b"\0" + self._read(3))
        kind, flags = self._read(2)
        (stream,) = struct.unpack(">I", self._read(4))
        payload = self._read(length)
        assert kind not in {RESET, GOAWAY}, payload
        if kind == SETTINGS and not flags & ACK:
            for offset in range(0, length, 6):
                setting, value = struct.unpack_from(">HI", payload, offset)
                if setting == INITIAL_WINDOW_SIZE:
                    self._stream += value - self._initial
                    self._initial = value
            self._sock.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if stream:
                self._stream += more
            else:
                self._connection += more
        return kind

    def _read(self, count: int) -> bytes:
        while len(self._data) < count:
            more = self._sock.recv(65_536)
            assert more, "the server hung up"
            self._data += more
        data, self._data = self._data[:count], self._data[count:]
        return data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(text: str) -> bytes:
    """Write a string of less than 127 bytes as HPACK does without Huffman's code (RFC 7541 5.2)."""
    data = text.encode()
    assert len(data) < 127
    return bytes((len(data),)) + data
