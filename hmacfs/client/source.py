"""The file to upload: its bytes from any place, and the digest of the whole, taken as they go by."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from hmacfs.client.digest import RunningDigest
from hmacfs.client.problem import Failed
from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

DEFAULT_TYPE: Final = "application/octet-stream"
# A slow link must move one block within the timeout; larger ones make a fast link no faster.
BLOCK_BYTES: Final = 128 * KiB


class Source:
    """An open file of one size, read by position.

    The digest follows the bytes that are sent; only what was sent by somebody before, or comes after the
    field that must tell it, is read a second time.
    """

    def __init__(self, path: str) -> None:
        """Open `path`. Raises Failed if it is no regular file or cannot be read."""
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123 - closed by `__exit__`
        except OSError as error:
            raise Failed(f"cannot be read: {error.strerror}") from error
        facts = os.fstat(self._file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            self._file.close()
            raise Failed("is no regular file")
        self.name = os.path.basename(path)  # noqa: PTH119 - a path's last part, not a path
        """Its bare name."""
        self.size = facts.st_size
        """Bytes, when it was opened."""
        self._changed_ns = facts.st_mtime_ns
        self._digest = RunningDigest()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    async def blocks(self, start: int, stop: int, passed: Callable[[int], None]) -> AsyncIterator[bytes]:
        """Return the bytes from `start` to `stop`; `passed` is told the place after each block.

        Raises Failed if the file no longer has them.
        """
        place = start
        while place < stop:
            with self._reading():
                block = os.pread(self._file.fileno(), min(BLOCK_BYTES, stop - place), place)
                if not block:
                    raise EOFError
            self._digest.take(place, block)
            yield block
            place += len(block)
            passed(place)

    async def digest(self) -> bytes:
        """Return the SHA-256 of the whole file. Raises Failed if the file has changed since it was opened."""
        with self._reading():
            sha256 = await self._digest.whole(self._file.fileno(), self.size)
        facts = os.fstat(self._file.fileno())
        if (facts.st_size, facts.st_mtime_ns) != (self.size, self._changed_ns):
            raise Failed("has changed while it was uploaded; upload it to a new URL")
        return sha256

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Failed(f"cannot be read: {error.strerror}") from error
        except EOFError as error:
            raise Failed("has become shorter while it was uploaded; upload it to a new URL") from error


def guess_type(name: str) -> str:
    """Return the media type that a file's name suggests."""
    kind, coding = mimetypes.guess_type(name)
    if coding is not None:  # of "a.tar.gz" it gives x-tar and gzip, but what is sent is the gzip
        return "application/gzip" if coding == "gzip" else DEFAULT_TYPE
    return kind or DEFAULT_TYPE
