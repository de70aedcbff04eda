"""A service manager in small: passes listening sockets on, as sd_listen_fds(3) describes it.

As a program it is what runs between fork and exec: it moves the descriptors to where they belong and
becomes the server, whose process id LISTEN_PID must be.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING

import serving

if TYPE_CHECKING:
    import socket
    from pathlib import Path

FIRST_FD = 3
OUT_OF_THE_WAY = 100


def start(
    where: Path, text: str, *sockets: socket.socket, environ: dict[str, str] | None = None
) -> serving.Server:
    """Start a server that accepts from `sockets`, which stay open here."""
    fds = tuple(sock.fileno() for sock in sockets)
    return serving.start(
        where,
        text,
        environ=environ,
        wrap=(sys.executable, __file__, ",".join(map(str, fds))),
        keep=fds,
    )


def _become(fds: list[int], command: list[str]) -> None:
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, OUT_OF_THE_WAY) for fd in fds]
    for fd in fds:
        os.close(fd)
    for wanted, fd in enumerate(moved, FIRST_FD):
        os.dup2(fd, wanted)
        os.close(fd)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
    os.execv(command[0], command)


if __name__ == "__main__":
    _become([int(fd) for fd in sys.argv[1].split(",")], sys.argv[2:])
