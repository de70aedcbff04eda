"""Uploads in processes of their own, of which strace sees nothing else: one is forked for each order.

To start Python and to import the store takes ten times as long as the upload; here that is done once.
`python uploading.py` gets each order as a message on its standard input: root and durability, and the
descriptors that become the upload's own input and output. It answers with process id and, later, status.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NamedTuple

import children
import storage

from hmacfs.errors import Refused
from hmacfs.model import Durability
from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Upload(NamedTuple):
    """An upload that waits for a line on its input."""

    pid: int
    threads: list[str]
    """Ids of the threads of the loop, of the syncs and of the index."""


class Uploader:
    """The test's end of it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    @contextlib.contextmanager
    def upload(self, root: Path, durability: Durability) -> Iterator[Upload]:
        """Begin to upload "U/deep/it"; `finish` lets it go on, and must be called once."""
        asked, self._go = os.pipe()
        self._said, tell = os.pipe()
        socket.send_fds(self._control, [f"{root}\0{durability}".encode()], [asked, tell])
        os.close(asked)
        os.close(tell)
        try:
            pid = int(self._control.recv(64))
            yield Upload(pid, self._line().split())
        finally:
            os.close(self._said)

    def finish(self) -> tuple[str, int]:
        """Let it upload; give what it said and its status."""
        os.write(self._go, b"go\n")
        os.close(self._go)
        said = b""
        while more := os.read(self._said, 4096):
            said += more
        return said.decode(), int(self._control.recv(64))

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._said, 1)
            assert byte, "the upload did not begin"
            line += byte
        return line.decode()


@contextlib.contextmanager
def running() -> Iterator[Uploader]:
    """Run the process that forks them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.pathsep.join(sys.path)
    with ours, theirs, children.running([sys.executable, __file__], stdin=theirs, env={"PYTHONPATH": path}):
        yield Uploader(ours)


def main() -> None:
    """Fork until there is nobody to fork for."""
    with socket.socket(fileno=0) as control:
        while True:
            order, fds, _, _ = socket.recv_fds(control, 4096, 2)
            if not order:
                return
            child = os.fork()
            if child == 0:
                os._exit(_begin(order.decode(), *fds))
            for fd in fds:
                os.close(fd)
            control.send(str(child).encode())
            control.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _begin(order: str, asked: int, tell: int) -> int:
    for fd, wanted in ((asked, 0), (tell, 1)):
        os.dup2(fd, wanted)
        os.close(fd)
    try:
        _upload(*order.split("\0"))
    except BaseException:  # noqa: BLE001 - of a child that must not go on as its parent
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


def _upload(root: str, durability: str) -> None:
    store = Store.open(root, storage.rules(durability=Durability(durability)))
    pools = (store._uploads.publisher._syncs, store._uploads.publisher._writer)
    threads = [pool.submit(threading.get_native_id).result() for pool in pools]
    os.write(1, " ".join(map(str, (threading.get_native_id(), *threads))).encode() + b"\n")
    fds = _fds()
    os.read(0, 8192)  # until strace is attached
    asyncio.run(_put(store))
    store._uploads.pool.submit(int).result()  # whatever is being closed is closed
    if left := {fd for fd in _fds() - fds if os.path.exists(f"/proc/self/fd/{fd}")}:  # noqa: PTH110 - as _fds
        os.write(1, f"left open: {[os.readlink(f'/proc/self/fd/{fd}') for fd in left]}\n".encode())  # noqa: PTH115
    store.close()


async def _put(store: Store) -> None:
    try:
        await storage.put(store, storage.slot("U/deep/it"))
        os.write(1, b"created\n")
    except Refused as refused:
        os.write(1, f"{refused.refusal.code}\n".encode())


def _fds() -> set[str]:
    try:
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, in as few calls as can be
    except OSError:  # of the call that was to fail: the storage has made fewer than the first time
        return _fds()


if __name__ == "__main__":
    main()
