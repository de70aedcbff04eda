"""A worker's end of the pipe to its supervisor, which may be gone at any time."""

from __future__ import annotations

import contextlib
from multiprocessing.connection import Connection as Pipe


class SupervisorPipe:
    """Messages there and back."""

    def __init__(self, control_fd: int) -> None:
        """Own the descriptor."""
        self._pipe = Pipe(control_fd)

    def close(self) -> None:
        """Say and hear no more."""
        self._pipe.close()

    def fileno(self) -> int:
        """Return what to watch."""
        return self._pipe.fileno()

    def send(self, message: object) -> None:
        """Send a message, if the supervisor is still there; that it is not, `receive` tells."""
        with contextlib.suppress(OSError):
            self._pipe.send(message)

    def receive(self) -> object:
        """Return the next message, and wait for it; None once the supervisor is gone."""
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            return None
