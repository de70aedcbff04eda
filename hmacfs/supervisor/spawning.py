"""The process of a worker, as the supervisor starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol, TypeAlias

from hmacfs import systemd, worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence


class WorkerProcess(Protocol):
    """What the supervisor does with the process of a worker; a `subprocess.Popen` can."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""

    def kill(self) -> None:
        """End it at once."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""


Spawn: TypeAlias = "Callable[[socket.socket, Sequence[int]], WorkerProcess]"
"""Start a worker that is controlled through a socket and inherits descriptors. Raises OSError."""


def spawn(control: socket.socket, inherited: Sequence[int]) -> WorkerProcess:
    """Start a worker. Raises OSError."""
    with held_back(worker.OF_THE_SUPERVISOR | {worker.REOPEN}):
        # A fresh interpreter, never a fork: a loop that has run does not survive one.
        # -P: nothing is imported from the current directory, which may well hold uploads.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hmacfs", "worker", str(control.fileno())],
            pass_fds=(control.fileno(), *inherited),
            stdin=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if k not in systemd.VARIABLES},
        )


@contextlib.contextmanager
def held_back(signals: frozenset[int]) -> Iterator[None]:
    """Keep `signals` waiting meanwhile, in this process and in those that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
