"""TLS 1.3 records of a client's own making (RFC 8446): a handshake message that comes in pieces.

The handshake is Python's; from there on `Records` encrypts with the keys that follow from the logged secret,
and the session of Python reads.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import hmac
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HANDSHAKE = 22
APPLICATION_DATA = 23
KEY_UPDATE = bytes([24, 0, 0, 1, 0])
"""KeyUpdate, update_not_requested; 4.6.3."""
_TAG_BYTES = 16
# Length of the key and hash, by length of the secret: TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384.
_SUITES = {32: (16, hashlib.sha256), 48: (32, hashlib.sha384)}
_GET_TAG = 0x10


class Records:
    """The records that a client sends once its handshake is done."""

    def __init__(self, secret: bytes) -> None:
        """Encrypt with the keys that follow from `secret`, with which nothing was sent yet."""
        key_bytes, self._hash = _SUITES[len(secret)]
        self._key = self._expand(secret, b"key", key_bytes)
        self._iv = self._expand(secret, b"iv", 12)
        self._number = 0

    def write(self, kind: int, data: bytes) -> bytes:
        """Return one record; 5.2."""
        plain = data + bytes([kind])
        head = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(plain) + _TAG_BYTES)
        counted = int.from_bytes(self._iv, "big") ^ self._number
        self._number += 1
        return head + _sealed(self._key, counted.to_bytes(12, "big"), plain, head)

    def _expand(self, secret: bytes, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label of an empty context; 7.1. One block of the hash is enough."""
        label = b"tls13 " + label
        info = struct.pack(">HB", length, len(label)) + label + b"\0"
        return hmac.digest(secret, info + b"\1", self._hash)[:length]


def client_secret(keylog: Path) -> bytes:
    """Return the last secret of a client's application data in a log that SSLContext.keylog_filename made."""
    lines = keylog.read_text().splitlines()
    return bytes.fromhex(
        next(line for line in reversed(lines) if line.startswith("CLIENT_TRAFFIC_SECRET_0")).split()[2]
    )


def _sealed(key: bytes, nonce: bytes, plain: bytes, extra: bytes) -> bytes:
    """AES-GCM, by the library that Python's ssl uses."""
    crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
    crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
    cipher = crypto.EVP_aes_128_gcm if len(key) == 16 else crypto.EVP_aes_256_gcm
    cipher.restype = ctypes.c_void_p
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    written = ctypes.c_int(0)
    out = ctypes.create_string_buffer(len(plain) + _TAG_BYTES)
    tag = ctypes.create_string_buffer(_TAG_BYTES)
    steps = (
        crypto.EVP_EncryptInit_ex(context, ctypes.c_void_p(cipher()), None, key, nonce),
        crypto.EVP_EncryptUpdate(context, None, ctypes.byref(written), extra, len(extra)),
        crypto.EVP_EncryptUpdate(context, out, ctypes.byref(written), plain, len(plain)),
        crypto.EVP_EncryptFinal_ex(context, out, ctypes.byref(written)),
        crypto.EVP_CIPHER_CTX_ctrl(context, _GET_TAG, _TAG_BYTES, tag),
    )
    crypto.EVP_CIPHER_CTX_free(context)
    assert all(step == 1 for step in steps), steps
    return out.raw[: len(plain)] + tag.raw
