"""The server's certificate: files to PEM, PEM to a TLS context; each step says what is wrong with it.

The PEM is kept in the settings, so that a worker started later serves what was checked, whatever the files
have become since.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

from hmacfs.model import Secret

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_MISMATCHES: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


class Unusable(ValueError):  # noqa: N818 - it names the files, as Wrong does a value
    """Raised for files that make no certificate; `key` is the key of [tls] to blame."""

    def __init__(self, key: str, words: str) -> None:
        """Say of the file that `key` names what is wrong with it."""
        super().__init__(words)
        self.key = key
        self.words = words


def read(certificate: str, key: str) -> Secret:
    """Return chain and private key, in PEM, of the files at these paths. Raises Unusable.

    `key` may be "" if the key is in the certificate's file.
    """
    chain = _read("certificate", certificate)
    both = chain + b"\n" + (_read("key", key) if key else b"")
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        raise Unusable("certificate", "no certificate in PEM form")
    if b"PRIVATE KEY-----" not in both:
        raise Unusable("key" if key else "certificate", "no private key in PEM form")
    return Secret(both)


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise Unusable(name, f"cannot be read: {reason or error}") from None


def context(pem: Secret, min_version: str) -> ssl.SSLContext:
    """Return the context in which clients are greeted. Raises Unusable if key and certificate do not fit."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[min_version]
    made.set_alpn_protocols(["http/1.1"])
    # Guards the replies: OpenSSL must take all that is written at once, since the memory is lent.
    made.options |= ssl.OP_NO_RENEGOTIATION
    # OpenSSL reads certificates from files only; this one never touches a disk.
    fd = os.memfd_create("hmacfs-certificate", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(pem.reveal())
        file.flush()
        try:
            made.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_password)
        except ssl.SSLError as error:
            if error.reason in _MISMATCHES:
                raise Unusable("key", "not the private key of the certificate") from None
            raise Unusable("certificate", f"refused by OpenSSL: {error.reason or error}") from None
    return made


def _no_password() -> str:
    raise Unusable("key", "a private key behind a password")
