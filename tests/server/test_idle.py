"""Thousands of idle connections: what each costs, and that nothing of them stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import procfs
import serving
from serving import PATIENCE_S, Server

if TYPE_CHECKING:
    import socket
    from pathlib import Path

CONNECTIONS = 9000
MOST_BYTES = 8 * 1024  # per connection, all processes
GET = serving.head("GET", "/health", None)


def hold(server: Server, count: int) -> list[socket.socket]:
    """Open connections that have each had one answer."""
    socks = []
    for _ in range(count):
        sock = server.connect()
        sock.sendall(GET)
        socks.append(sock)
    for sock in socks:
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    return socks


def let_go(server: Server, socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.close()
    deadline = time.monotonic() + PATIENCE_S
    while server.scrape()["hmacfs_connections"]:
        assert time.monotonic() < deadline


def test_an_idle_connection_is_cheap_and_leaves_nothing(tmp_path: Path) -> None:
    procfs.raise_open_files(CONNECTIONS + 200)
    with serving.running(tmp_path, workers=2) as server:
        let_go(server, hold(server, 100))
        processes = [server.process.pid, *server.workers]
        before = sum(map(procfs.anonymous_bytes, processes))
        files = [procfs.open_files(pid) for pid in server.workers]
        socks = hold(server, CONNECTIONS)
        assert server.scrape()["hmacfs_connections"] == CONNECTIONS
        each = (sum(map(procfs.anonymous_bytes, processes)) - before) / CONNECTIONS
        began = time.monotonic()
        assert server.request("HEAD", "/health").status == 200
        head_s = time.monotonic() - began
        let_go(server, socks)
        assert [procfs.open_files(pid) for pid in server.workers] == files
        serving.figure(
            f"{CONNECTIONS} idle connections: {each:.0f} bytes each, HEAD in {head_s * 1000:.1f} ms"
        )
        assert each <= MOST_BYTES
