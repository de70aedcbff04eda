"""What one more connection costs a server in memory: Pss before and with many of them.

The kernel's socket buffers are in neither number; they are the same for every server.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING, Final

from benches import contenders, folder, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.load import Trial

IDLE: Final = 2000
UPLOADING: Final = 500
PATIENCE_S: Final = 60.0


def idle(trial: Trial) -> dict[str, float]:
    """Measure connections that have been answered once and are kept alive."""
    request = folder.download(trial.folder.target("1k"), trial.server.address).encode()

    def use(sock: socket.socket, _: int) -> None:
        sock.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(65536)
        length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        left = length - len(answer.partition(b"\r\n\r\n")[2])
        while left > 0:
            left -= len(sock.recv(left))

    return _per_connection(trial, IDLE, use)


def uploading(trial: Trial) -> dict[str, float]:
    """Measure uploads of 1 MiB of which half has arrived."""
    size = folder.SIZES["1m"]
    made = folder.uploads(
        trial.folder.served, trial.server.address, size, UPLOADING, signed=trial.server.contender.signed
    )
    half = bytes(size // 2)

    def use(sock: socket.socket, number: int) -> None:
        sock.sendall(made[number].head.encode() + half)
        deadline = time.monotonic() + PATIENCE_S
        while struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[
            0
        ]:  # not acknowledged, tcp(7)
            if time.monotonic() > deadline:
                raise TimeoutError("the server does not take an upload")
            time.sleep(0)

    return _per_connection(trial, UPLOADING, use)


def _per_connection(trial: Trial, count: int, use: Callable[[socket.socket, int], None]) -> dict[str, float]:
    with contextlib.ExitStack() as stack:

        def connect(number: int) -> None:
            address = (contenders.HOST, trial.server.port)
            use(stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S)), number)

        connect(0)  # what the first one loads or allocates once is no connection's cost
        measure.settle(trial.server.pids)
        before = measure.memory_bytes(trial.server.pids)
        for number in range(1, count):
            connect(number)
        measure.settle(trial.server.pids)
        used = measure.memory_bytes(trial.server.pids) - before
    return {"memory_bytes": used / (count - 1)}
