"""Digests of contents (RFC 9530): Repr-Digest, Content-Digest and Want-Repr-Digest, read and written.

They are structured fields, so that a malformed one counts as absent. Knows nothing of files: what is compared
with what is for the caller to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hmacfs.http import structured

_SHA256: Final = "sha-256"
_ALGORITHMS: Final = {_SHA256: "sha256", "sha-512": "sha512"}
"""The active algorithms of RFC 9530 7.2, and what hashlib calls them; others are ignored (RFC 9530 2)."""
_WEIGHT_MOST: Final = 10
"""The largest preference among digests (RFC 9530 4)."""


@dataclass(slots=True, kw_only=True)
class Checksum:
    """A digest that came with a message."""

    algorithm: str
    """As hashlib names it: "sha1", "sha256", "sha512"."""
    value: bytes
    whole: bool
    """Whether of the whole file (Repr-Digest) or of this message's body."""


def read(value: bytes | None, *, whole: bool) -> tuple[Checksum, ...]:
    """Return the digests of Repr-Digest (`whole`) or Content-Digest whose algorithms are known."""
    return tuple(
        Checksum(algorithm=_ALGORITHMS[name], value=digest, whole=whole)
        for name, digest in (structured.members(value) or {}).items()
        if name in _ALGORITHMS and isinstance(digest, bytes)
    )


def sha256(value: bytes | None) -> bytes | None:
    """Return the SHA-256 in Repr-Digest; None if it does not say."""
    digest = (structured.members(value) or {}).get(_SHA256)
    return digest if isinstance(digest, bytes) else None


def wants_sha256(value: bytes | None) -> bool:
    """Whether Want-Repr-Digest (RFC 9530 4) takes a SHA-256: an integer from 1 to 10 says so, 0 forbids."""
    return 1 <= (structured.integers(value) or {}).get(_SHA256, 0) <= _WEIGHT_MOST


def write(sha256: bytes) -> str:
    """Return the value of Repr-Digest (RFC 9530 3)."""
    return structured.write({_SHA256: sha256})
