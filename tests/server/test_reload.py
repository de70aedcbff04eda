"""SIGHUP: new settings in every worker without a failed request, or every fault said and nothing changed."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
import serving
from crowd import Crowd
from serving import PATIENCE_S, Server

if TYPE_CHECKING:
    from pathlib import Path

FULL = os.environ.get("HMACFS_FULL") == "1"
RELOADS = 20 if FULL else 6
OTHER_SECRET = "7d41c3f80a9e52b6c0f8e1d27a6b9354"
FRESH_CONNECTIONS = 16  # enough for each of two workers to get one of them


def reload(server: Server, text: str) -> None:
    fresh = server.config.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(server.config)  # an earlier signal may have it read right now
    server.signal(signal.SIGHUP)


def put_everywhere(server: Server, size: int = 100) -> set[int]:
    """Upload on so many connections that every worker gets some; give the statuses."""
    return {server.put(serving.fresh(), b"x" * size).status for _ in range(FRESH_CONNECTIONS)}


def test_every_worker_serves_the_new_settings(tmp_path: Path) -> None:
    storage = tmp_path / "store"
    with serving.running(tmp_path, workers=2) as server:
        assert put_everywhere(server) == {201}
        reload(server, serving.configuration(storage, workers=2, secret=OTHER_SECRET))
        server.wait_for("reload-done")
        assert put_everywhere(server) == {403}
        reload(server, serving.configuration(storage, workers=2, server='max_upload_size = "1KB"'))
        server.wait_for("reload-done")
        assert put_everywhere(server, 1024) == {201}
        assert put_everywhere(server, 1025) == {413}


def test_new_timeouts_hold_for_connections_that_were_there_before(tmp_path: Path) -> None:
    with serving.running(tmp_path) as server, server.connect() as sock:
        sock.sendall(serving.head("GET", "/health", None))
        serving.read_answer(sock)
        text = serving.configuration(tmp_path / "store", rest='[timeouts]\nheadertimeout = "500ms"\n')
        reload(server, text)
        server.wait_for("reload-done")
        sock.sendall(b"GET / HT")
        assert serving.read_answer(sock).status == 408


def test_no_request_fails_under_load(tmp_path: Path) -> None:
    storage = tmp_path / "store"
    sizes = ("1GB", "2GB")
    with serving.running(tmp_path, workers=2) as server, Crowd(server.host, server.port) as crowd:
        for turn in range(RELOADS):
            crowd.wait_for(20)
            text = serving.configuration(storage, workers=2, server=f'max_upload_size = "{sizes[turn % 2]}"')
            reload(server, text)
            server.wait_for("reload-done")
        crowd.wait_for(20)
        assert crowd.failures == []
        assert crowd.refused == 0
        assert crowd.connected == 6, "no connection was closed either"


def test_reloads_in_a_row_end_with_the_last_settings_everywhere(tmp_path: Path) -> None:
    """A signal may come while the workers still take over the settings before, or while they start."""
    storage = tmp_path / "store"
    with serving.running(tmp_path, workers=2, provokes={"worker-died"}) as server:
        os.kill(server.workers[0], signal.SIGKILL)
        for kilobytes in range(1, 11):
            reload(
                server,
                serving.configuration(storage, workers=2, server=f'max_upload_size = "{kilobytes}KB"'),
            )
        deadline = time.monotonic() + PATIENCE_S
        while server.operate("/readyz")[0] != 200:
            assert time.monotonic() < deadline
        assert put_everywhere(server, 10 * 1024) == {201}
        assert put_everywhere(server, 10 * 1024 + 1) == {413}


def test_a_faulty_configuration_changes_nothing(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=2) as server:
        broken = serving.configuration(
            tmp_path / "store", workers=2, server='max_upload_size = "many"\nmax_uplod = 1'
        )
        reload(server, broken)
        faults = [server.wait_for("reload-refused")["fault"] for _ in range(2)]
        assert any("max_upload_size" in fault for fault in faults), faults
        assert any("max_uplod" in fault for fault in faults), faults
        assert all("config.toml:" in fault for fault in faults)
        assert server.operate("/readyz")[0] == 200
        assert put_everywhere(server) == {201}


@pytest.mark.parametrize("ruin", ["gone", "not-toml", "not-utf8", "directory"])
def test_a_configuration_that_cannot_be_read_changes_nothing(tmp_path: Path, ruin: str) -> None:
    with serving.running(tmp_path) as server:
        server.config.unlink()
        if ruin == "not-toml":
            server.config.write_text("[server\n")
        elif ruin == "not-utf8":
            server.config.write_bytes(b"\xff\xfe")
        elif ruin == "directory":
            server.config.mkdir()
        server.signal(signal.SIGHUP)
        assert server.wait_for("reload-refused")["fault"]
        assert server.put(serving.fresh(), b"x").status == 201


def test_what_needs_a_restart_is_said_and_not_half_done(tmp_path: Path) -> None:
    """A worker that is replaced later still serves the storage of its neighbours."""
    with serving.running(tmp_path, workers=1, provokes={"worker-died"}) as server:
        rel = serving.fresh()
        assert server.put(rel, b"x").status == 201
        reload(server, serving.configuration(tmp_path / "elsewhere", workers=3, listen='"127.0.0.1:1"'))
        named = [server.wait_for("restart-needed")["key"] for _ in range(3)]
        assert sorted(named) == ["server.listen_address", "server.storage_path", "server.workers"]
        server.wait_for("reload-done")
        (pid,) = server.workers
        os.kill(pid, signal.SIGKILL)
        server.wait_for("worker-started")
        assert server.get(rel).status == 200
        assert not (tmp_path / "elsewhere").exists()
        assert b"[+]workers ok: 1 of 1" in server.operate("/readyz?verbose")[1]


def test_the_log_file_is_opened_anew_after_rotation(tmp_path: Path) -> None:
    path, old = tmp_path / "hmacfs.log", tmp_path / "hmacfs.log.1"
    logging = f'[logging]\nformat = "json"\nfile = "{path}"\n'
    text = serving.configuration(tmp_path / "store", workers=2).replace('[logging]\nformat = "json"\n', "")
    with serving.running(tmp_path, workers=2) as server:
        reload(server, text + logging)
        lines_with(path, "reload-done", 1)
        path.rename(old)
        server.signal(signal.SIGHUP)
        lines_with(path, "reload-done", 1)
        put_everywhere(server)
        lines_with(path, "request", FRESH_CONNECTIONS)
        lines_with(old, "request", 0)


def lines_with(path: Path, event: str, count: int) -> None:
    """Wait until the log at `path` has so many lines of this event."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        # Only whole lines: the writer may be in the middle of the last one.
        lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        found = sum(json.loads(line)["event"] == event for line in lines)
        if found >= count:
            assert found == count
            return
        assert time.monotonic() < deadline, lines
