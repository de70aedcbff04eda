"""Addresses for programs that cannot tell which port they were given."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import children

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
STEP_S = 0.05

_given: set[int] = set()


def free_address() -> str:
    """Return host:port on a loopback address that is this test process's own, so that nobody can take it.

    Linux has all of 127.0.0.0/8 on `lo`, and the kernel hands ports out on 127.0.0.1 to everybody else.
    """
    pid = os.getpid()
    host = f"127.{64 + (pid >> 16) % 64}.{pid >> 8 & 255}.{pid & 255}"
    while True:
        with socket.create_server((host, 0)) as probe:
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return f"{host}:{port}"


def listens(address: str) -> bool:
    """Whether something accepts connections there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def served(
    command: list[str], address: str, log: Path, *, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that accepts connections at `address`; what it says goes to `log`."""
    with (
        log.open("wb") as output,
        children.running(command, stdout=output, stderr=output, cwd=log.parent, env=env) as process,
    ):
        try:
            _wait(process, address, log)
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_LIMIT_S)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(int(START_LIMIT_S / STEP_S)):
        if listens(address):
            return
        try:
            process.wait(STEP_S)  # also the pause between two tries
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"{process.args!r} does not listen:\n{log.read_text(errors='replace')}")
