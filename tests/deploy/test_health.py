"""The health check that deploy/haproxy.cfg documents finds a running server up."""

from __future__ import annotations

import contextlib
import csv
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import children
import fronts
import pytest
import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 60.0
PLAIN = """
global
    stats socket {socket}
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
backend hmacfs{backend}
"""


@pytest.mark.parametrize(("check", "state"), [("GET /health", "UP"), ("GET /", "DOWN")])
def test_haproxys_check(tmp_path: Path, program: Callable[[str], str], check: str, state: str) -> None:
    """What is commented out there; `GET /` would take the server down, as the comment says."""
    with serving.running(tmp_path) as server:
        backend = fronts.swap(
            (fronts.DEPLOY / "haproxy.cfg").read_text().rpartition("backend hmacfs")[2],
            ("#option httpchk GET /health", f"option httpchk {check}"),
            ("#default-server check inter 5s", "default-server check inter 100ms fall 1"),
            ("127.0.0.1:8080", f"{server.host}:{server.port}"),
        )
        stats = tmp_path / "stats"
        config = fronts.write(tmp_path / "haproxy.cfg", PLAIN.format(socket=stats, backend=backend))
        with children.running([program("haproxy"), "-db", "-f", config], stderr=subprocess.DEVNULL):
            assert state_of(stats) == state


def state_of(stats: Path) -> str:
    """Return what HAProxy takes its one server for, once it has asked."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(stats))
            sock.sendall(b"show stat\n")
            rows = csv.DictReader(sock.makefile().read().splitlines())
            (server,) = (row for row in rows if row["svname"] == "hmacfs")
            if server["check_status"].startswith("L7"):
                return server["status"].partition(" ")[0]
    raise AssertionError("no check was made")
