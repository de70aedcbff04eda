"""Many large uploads at once, and the memory of the worker that takes them."""

from __future__ import annotations

import os
import selectors
import time
from typing import TYPE_CHECKING, cast

import procfs
import pytest
import serving
from serving import PATIENCE_S, Server

if TYPE_CHECKING:
    import socket
    from pathlib import Path

MiB = 1 << 20
FULL = os.environ.get("HMACFS_FULL") == "1"
CLIENTS = 200 if FULL else 50
SIZE = (100 if FULL else 20) * MiB
FLAT_BYTES = 32 * MiB
PIECE = memoryview(os.urandom(MiB))
TYPE = "application/octet-stream"


class Upload:
    """One client that sends as fast as the server takes."""

    def __init__(self, server: Server) -> None:
        self.rel = serving.fresh()
        self.left = SIZE
        self.sock = server.connect()
        target = serving.signed(self.rel, SIZE)
        self.sock.sendall(serving.head("PUT", target, {"Content-Type": TYPE}, SIZE))
        self.sock.setblocking(False)

    def send(self) -> bool:
        """Send what the socket takes; tell whether that was the last of it."""
        self.left -= self.sock.send(PIECE[: self.left])
        return not self.left


def upload_all(server: Server, count: int) -> int:
    """Upload at once from so many clients; give the worker's largest RSS meanwhile."""
    (pid,) = server.workers
    uploads = {upload.sock: upload for upload in (Upload(server) for _ in range(count))}
    largest, looked = procfs.rss_bytes(pid), 0.0
    with selectors.DefaultSelector() as waiting:
        for sock in uploads:
            waiting.register(sock, selectors.EVENT_WRITE)
        while uploads:
            ready = waiting.select(PATIENCE_S)
            assert ready, "nothing moves any more"
            for key, event in ready:
                sock = cast("socket.socket", key.fileobj)
                upload = uploads[sock]
                if event & selectors.EVENT_WRITE:
                    if upload.send():
                        waiting.modify(sock, selectors.EVENT_READ)
                    continue
                sock.setblocking(True)
                assert serving.read_answer(sock).status == 201
                waiting.unregister(sock)
                sock.close()
                del uploads[sock]
                # Or the disk fills, and what is measured is the machine's page cache.
                (server.storage / "upload" / upload.rel).unlink()
            if time.monotonic() - looked > 0.05:
                looked = time.monotonic()
                largest = max(largest, procfs.rss_bytes(pid))
    return largest


@pytest.mark.timeout(900)
def test_memory_stays_flat_however_many_upload(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=1, rest='[timeouts]\nreadtimeout = "5m"\n') as server:
        before = upload_all(server, 1)
        began = time.monotonic()
        largest = upload_all(server, CLIENTS)
        took = time.monotonic() - began
        serving.figure(
            f"{CLIENTS} x {SIZE / MiB:.0f} MiB at once in {took:.1f} s: RSS {before / MiB:.1f} MiB before, "
            f"{largest / MiB:.1f} MiB at most"
        )
        assert largest - before <= FLAT_BYTES
