"""What a plain PUT says of its own content (Repr-Digest, RFC 9530): taken as it comes, then compared."""

from __future__ import annotations

import hashlib
import hmac

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http import digests


class DeclaredDigests:
    """The digests of known algorithms that came with an upload."""

    __slots__ = ("_told", "running")

    def __init__(self, value: bytes) -> None:
        """Read the field; what is malformed in it promises nothing."""
        self._told = digests.read(value, whole=True)
        self.running = [hashlib.new(told.algorithm, usedforsecurity=False) for told in self._told]
        """The digests under way, to be fed with the body."""

    def kept(self) -> bytes | None:
        """Compare, once all has come, and give the SHA-256 if it was told. Raises Refused DIGEST_MISMATCH."""
        for told, running in zip(self._told, self.running, strict=True):
            if not hmac.compare_digest(told.value, running.digest()):
                raise Refused(errors.DIGEST_MISMATCH)
        return next((told.value for told in self._told if told.algorithm == "sha256"), None)
