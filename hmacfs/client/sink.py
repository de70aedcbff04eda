"""Where a download goes: a file that gets its name when it is whole, or standard output."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Final, Protocol, Self

from hmacfs.client.digest import RunningDigest
from hmacfs.client.problem import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Of what a part is the beginning. An attribute, so that it cannot be parted from the bytes and leaves no
# second file; where the file system keeps none, a later run begins anew.
_ORIGIN: Final = "user.hmacfs.origin"


class DownloadTarget(Protocol):
    """Takes the bytes of a download, in order."""

    size: int
    """Bytes that it has."""
    tag: str | None
    """Strong entity tag of what they are the beginning of; None if unknown."""

    def begin(self, tag: str | None) -> None:
        """Take the bytes of what has this tag, from the first on. Raises Failed if it cannot begin anew."""

    def write(self, block: bytes) -> None:
        """Take the next bytes. Raises Failed."""

    async def digest(self) -> bytes:
        """Return the SHA-256 of all bytes so far. Raises Failed."""

    def finish(self) -> None:
        """Everything has come and is right. Raises Failed if it cannot stand under its name."""


class PartialDownload:
    """TARGET.part, beside the file that it becomes; kept for a later run if the download breaks."""

    def __init__(self, target: Path, url: str, *, force: bool) -> None:
        """Open the part of `target`, to go on if it is the beginning of what `url` gives.

        `force` allows to replace `target`. Raises Failed if it exists without that, or if no part can be
        opened.
        """
        if not force and os.path.lexists(target):
            raise _exists()
        self._target = target
        self._force = force
        self._part = target.with_name(f"{target.name}.part")
        self._about = hashlib.sha256(url.encode()).hexdigest()
        with _writing():
            # A link that somebody has put there is not followed.
            self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._finished = False
        self._digest = RunningDigest()
        self.size = 0
        self.tag: str | None = None
        try:
            self._claim()
        except BaseException:
            os.close(self._fd)
            raise

    def _claim(self) -> None:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise Failed(f"{self._part} is no regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed(f"{self._part} is being written by another download") from error
        with contextlib.suppress(OSError, UnicodeDecodeError):
            about, _, tag = os.getxattr(self._fd, _ORIGIN).decode().partition(" ")
            if about == self._about:
                self.tag = tag
                self.size = os.fstat(self._fd).st_size

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; an empty part is of no use to anybody."""
        if not self._finished and self.size == 0:
            self._part.unlink(missing_ok=True)
        os.close(self._fd)

    def begin(self, tag: str | None) -> None:
        """See `DownloadTarget`."""
        with _writing():
            os.truncate(self._fd, 0)
        self._digest = RunningDigest()
        self.size = 0
        self.tag = tag
        with contextlib.suppress(OSError):
            os.setxattr(self._fd, _ORIGIN, f"{self._about if tag else ''} {tag}".encode())

    def write(self, block: bytes) -> None:
        """See `DownloadTarget`."""
        left = memoryview(block)
        with _writing():
            while left:
                written = os.pwrite(self._fd, left, self.size)
                self._digest.take(self.size, bytes(left[:written]))
                self.size += written
                left = left[written:]

    async def digest(self) -> bytes:
        """See `DownloadTarget`."""
        with _writing():
            return await self._digest.whole(self._fd, self.size)

    def finish(self) -> None:
        """See `DownloadTarget`."""
        with contextlib.suppress(OSError):
            os.removexattr(self._fd, _ORIGIN)
        with _writing():
            if self._force:
                self._part.replace(self._target)
            else:
                self._name()
        self._finished = True

    def _name(self) -> None:
        """Give the part its name, if nobody has taken that meanwhile."""
        try:
            os.link(self._part, self._target)
        except FileExistsError as error:
            raise _exists() from error
        except OSError:  # a file system without hard links; there the name was free when the download began
            self._part.rename(self._target)
        else:
            self._part.unlink()


class Pipe:
    """Standard output: what has been written cannot be taken back."""

    def __init__(self) -> None:
        """Have written nothing yet."""
        self.size = 0
        self.tag: str | None = None
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave standard output open."""

    def begin(self, tag: str | None) -> None:
        """See `DownloadTarget`."""
        if self.size:
            raise Failed("the server does not go on where it stopped, and what is written stays written")
        self.tag = tag

    def write(self, block: bytes) -> None:
        """See `DownloadTarget`."""
        with _writing():
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
        self._sha256.update(block)
        self.size += len(block)

    async def digest(self) -> bytes:
        """See `DownloadTarget`."""
        return self._sha256.digest()

    def finish(self) -> None:
        """See `DownloadTarget`."""


def _exists() -> Failed:
    return Failed("exists already; name another file with -o, or replace it with --force")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failed(f"cannot be written: {error.strerror}") from error
