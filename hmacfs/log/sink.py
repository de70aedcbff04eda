"""Where lines go: a file, a pipe, a terminal or a socket, none of which may make the server wait.

Knows bytes, not lines' meaning. Several workers share one stream: a file is opened for appending, a pipe
gets whole lines of at most PIPE_BUF bytes at once, which pipe(7) keeps together.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import stat
from typing import Final, NamedTuple

ATOMIC_BYTES: Final = select.PIPE_BUF
FILE_MODE: Final = 0o640


class Written(NamedTuple):
    """How far a write came."""

    taken: int
    """Bytes taken."""
    broken: bool
    """Whether the rest will not be taken either, however long one waits."""


class LogStream:
    """An open stream; owns its descriptor. Raises OSError only while it is opened."""

    __slots__ = ("_fd", "_lines", "_poll", "_socket")

    def __init__(self, fd: int) -> None:
        """Write to the stream that is open as `fd`, without changing that descriptor for others.

        O_NONBLOCK belongs to the open file, which the shell or other workers share: so a pipe or terminal
        is opened anew, and a socket asked with MSG_DONTWAIT. Where neither can be, poll(2) is asked first.
        """
        mode = os.fstat(fd).st_mode
        self._lines = stat.S_ISFIFO(mode)
        self._poll: select.poll | None = None
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
            self._fd = self._socket.fileno()
            return
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._fd = os.open(f"/proc/self/fd/{fd}", flags)
            except OSError:  # another user's pipe, or no /proc
                self._fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
                self._lines = True  # what poll(2) promises room for
                self._poll = select.poll()
                self._poll.register(self._fd, select.POLLOUT)
            return
        self._fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)

    @classmethod
    def at(cls, path: str) -> LogStream:
        """Append to the file at `path`, making it if there is none."""
        # O_NONBLOCK: a named pipe without a reader is refused rather than waited for.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path, flags, FILE_MODE)
        try:
            return cls(fd)
        finally:
            os.close(fd)

    def write(self, data: bytes) -> Written:
        """Write as much of `data`, whole lines, as the stream takes now."""
        done = 0
        try:
            while done < len(data):
                stop = self._piece(data, done)
                if self._poll is not None and not self._poll.poll(0):
                    break
                taken = self._write(data[done:stop])
                done += taken
                if not taken:
                    break
        except BlockingIOError:
            pass
        except OSError:
            return Written(done, broken=True)
        return Written(done, broken=False)

    def _piece(self, data: bytes, start: int) -> int:
        """Return where the piece ends that a pipe takes in one go: after a line, if that fits."""
        stop = len(data)
        if not self._lines or stop - start <= ATOMIC_BYTES:
            return stop
        end = data.rfind(b"\n", start, start + ATOMIC_BYTES)
        return start + ATOMIC_BYTES if end < 0 else end + 1

    def _write(self, piece: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._fd, piece)

    def close(self) -> None:
        """Close the stream."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._fd)
