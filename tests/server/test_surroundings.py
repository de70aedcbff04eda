"""What lies around a server is neither trusted nor taken away: its directory, its socket's name."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
import serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["uvloop", "asyncio", "hmacfs"])
def test_nothing_is_imported_from_the_current_directory(tmp_path: Path, name: str) -> None:
    # With `directory = ""` a server that is started in its storage has uploads in it.
    with serving.running(tmp_path) as server:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current directory')\n")
        (worker,) = server.workers
        os.kill(worker, signal.SIGKILL)
        server.wait_for("worker-died", pid=worker)
        assert server.wait_for("worker-started")["pid"] != worker
        assert server.put(serving.fresh(), b"x").status == 201


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_name_of_a_unix_socket_outlives_a_worker(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "hmacfs.sock"
    with serving.running(tmp_path, listen=f'"unix:{path}"') as server:
        (worker,) = server.workers
        os.kill(worker, number)
        server.wait_for("worker-died", pid=worker)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(serving.PATIENCE_S)
            client.connect(str(path))
            client.sendall(serving.head("GET", "/health", None))
            assert serving.read_answer(client).body == b"OK"
    assert not path.exists()
