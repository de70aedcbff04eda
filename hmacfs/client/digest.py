"""The SHA-256 of a file, taken as its bytes go by; what did not go by in order is read once more."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Final

from hmacfs.model import KiB

BLOCK_BYTES: Final = 256 * KiB


class RunningDigest:
    """A digest that has come to some place of a file."""

    def __init__(self) -> None:
        """Begin at the file's beginning."""
        self._sha256 = hashlib.sha256()
        self._place = 0

    def take(self, place: int, block: bytes) -> None:
        """Take in what of `block`, which stands at `place`, is next; nothing if there is a gap before it."""
        fresh = block[self._place - place :] if place <= self._place else b""
        self._sha256.update(fresh)
        self._place += len(fresh)

    async def whole(self, fd: int, size: int) -> bytes:
        """Return the digest of the file open as `fd`, once `size` bytes are taken in.

        Raises EOFError if it has fewer, OSError if it cannot be read.
        """
        while self._place < size:
            block = os.pread(fd, min(BLOCK_BYTES, size - self._place), self._place)
            if not block:
                raise EOFError
            self.take(self._place, block)
            await asyncio.sleep(0)  # other transfers have their turns, and Ctrl-C is heard
        return self._sha256.digest()
