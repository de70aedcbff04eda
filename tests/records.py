"""A TLS 1.3 client that makes its own records, to cut handshake messages where it likes (RFC 8446).

OpenSSL shakes hands and reads what the server sends; what we send is encrypted here, with the secret that
OpenSSL logs, and without any of its own care.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Final, Self, TypeVar

import selfsigned
import serving
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")

HANDSHAKE: Final = 22
APPLICATION: Final = 23
KEY_UPDATE: Final = b"\x18\x00\x00\x01"
"""All of a KeyUpdate but its last byte, which asks for one in return, or does not (RFC 8446 4.6.3)."""
_LOGGED: Final = "CLIENT_TRAFFIC_SECRET_0"
_KEY_BYTES: Final = 32
_IV_BYTES: Final = 12
_TAG_BYTES: Final = 16
_VERSION: Final = 0x0303


def expand(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label without a context, of at most one block (RFC 8446 7.1, RFC 5869 2.3)."""
    name = b"tls13 " + label.encode()
    info = struct.pack(">HB", length, len(name)) + name + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha384).digest()[:length]


class Client:
    """One connection, of TLS_AES_256_GCM_SHA384."""

    def __init__(self, port: int, crt: Path, keys: Path, *, room: int = 0) -> None:
        """Shake hands, trusting the certificate alone; `keys` is where OpenSSL writes its secrets to.

        `room` is how much may be on its way to us, if not what the system allows.
        """
        trust = ssl.create_default_context(cafile=str(crt))
        trust.minimum_version = ssl.TLSVersion.TLSv1_3
        trust.keylog_filename = str(keys)
        self.sock = socket.socket()
        self.sock.settimeout(serving.PATIENCE_S)
        if room:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.sock.connect(("127.0.0.1", port))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname=selfsigned.NAME)
        self._until(self._tls.do_handshake)
        assert (cipher := self._tls.cipher()) is not None
        assert cipher[0] == "TLS_AES_256_GCM_SHA384"
        logged = [line.split() for line in keys.read_text().splitlines()]
        self._take(bytes.fromhex(next(words[2] for words in reversed(logged) if words[0] == _LOGGED)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def record(self, kind: int, data: bytes) -> bytes:
        """Encrypt one record (RFC 8446 5.2)."""
        inner = data + bytes([kind])
        head = struct.pack(">BHH", APPLICATION, _VERSION, len(inner) + _TAG_BYTES)
        nonce = int.from_bytes(self._iv) ^ self._sent
        self._sent += 1
        return head + self._cipher.encrypt(nonce.to_bytes(_IV_BYTES), inner, head)

    def update(self) -> None:
        """Encrypt with the next key: a KeyUpdate is out (RFC 8446 7.2)."""
        self._take(expand(self._secret, "traffic upd", hashlib.sha384().digest_size))

    def send(self, *records: bytes) -> None:
        """Send records in one piece."""
        self.sock.sendall(b"".join(records))

    def recv(self, most: int) -> bytes:
        """Return what has come, as a socket would."""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            return bytes(self._until(lambda: self._tls.read(most)))
        return b""

    def answer(self, method: str = "GET") -> serving.Answer:
        """Read one whole answer, and no byte more."""
        answer, rest = serving.take_answer(self, b"", method)
        assert not rest
        return answer

    def _take(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(expand(secret, "key", _KEY_BYTES))
        self._iv = expand(secret, "iv", _IV_BYTES)
        self._sent = 0

    def _until(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    self.sock.sendall(self._outgoing.read())
                if data := self.sock.recv(1 << 16):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                if self._outgoing.pending:
                    self.sock.sendall(self._outgoing.read())
