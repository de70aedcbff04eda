"""Signals: what is in flight is finished, what is idle is closed, and the exit status says so."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest
import serving
from serving import PATIENCE_S, Server

if TYPE_CHECKING:
    import socket
    from pathlib import Path

MiB = 1 << 20
CONTENT = os.urandom(24 * MiB)  # more than the kernel's buffers hold
HALF = len(CONTENT) // 2
UNASKED_S = 25.0
"""Below the default of [timeouts] shutdown: who takes longer has waited for that."""
SHORT = '[timeouts]\nshutdown = "1s"\n'


def half_upload(server: Server, rel: str) -> socket.socket:
    """Begin an upload; the other half is still to be sent. It is in flight: 100 Continue has come."""
    sock = server.connect()
    fields = {"Content-Type": "application/octet-stream", "Expect": "100-continue"}
    sock.sendall(serving.head("PUT", serving.signed(rel, len(CONTENT)), fields, len(CONTENT)))
    assert serving.read_answer(sock).status == 100
    sock.sendall(CONTENT[:HALF])
    return sock


def half_download(server: Server, rel: str) -> tuple[socket.socket, bytes]:
    """Begin a download and read only its first bytes."""
    sock = server.connect()
    sock.sendall(serving.head("GET", f"/upload/{rel}", None))
    return sock, sock.recv(1000)


def idle(server: Server) -> socket.socket:
    """Make a connection that has had an answer and waits."""
    sock = server.connect()
    sock.sendall(serving.head("GET", "/health", None))
    assert serving.read_answer(sock).body == b"OK"
    return sock


def read_to_end(sock: socket.socket) -> bytes:
    data = bytearray()
    while more := sock.recv(1 << 20):
        data += more
    return bytes(data)


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE_S)[0], f"{pid} does not end"
    finally:
        os.close(fd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_what_is_in_flight_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    with serving.start(tmp_path, serving.configuration(tmp_path / "store", workers=2)) as server:
        stored, rel = serving.fresh(), serving.fresh()
        assert server.put(stored, CONTENT).status == 201
        workers = server.workers
        with half_upload(server, rel) as upload, idle(server) as waiting:
            download, first = half_download(server, stored)
            server.signal(number)
            server.wait_for("serve-stopping")
            status, words = server.operate("/readyz?verbose")
            assert status == 503
            assert b"[-]draining failed" in words
            assert read_to_end(waiting) == b"", "an idle connection is closed without a word"
            with pytest.raises(ConnectionRefusedError):
                server.connect()
            upload.sendall(CONTENT[HALF:])
            answer = serving.read_answer(upload)
            assert (answer.status, answer.fields["connection"]) == (201, "close")
            assert read_to_end(upload) == b""
            with download:
                assert (first + read_to_end(download)).endswith(CONTENT[-1000:])
        server.wait_for("serve-stopped")
        assert server.process.wait(PATIENCE_S) == 0
        for pid in workers:
            wait_until_gone(pid)
        assert sorted(server.files()) == sorted([f"upload/{stored}", f"upload/{rel}"])


def test_a_request_on_its_way_to_an_idle_connection_is_answered(tmp_path: Path) -> None:
    with serving.start(tmp_path, serving.configuration(tmp_path / "store")) as server:
        with idle(server) as sock:
            server.signal(signal.SIGTERM)
            server.wait_for("serve-stopping")
            # The supervisor has said so; the worker hears of it an instant later.
            closing = False
            while not closing:
                sock.sendall(serving.head("GET", "/health", None))
                answer = serving.read_answer(sock)
                assert answer.status == 200
                closing = answer.fields.get("connection") == "close"
        assert server.process.wait(PATIENCE_S) == 0


def test_past_the_deadline_transfers_are_cut_and_the_status_is_still_0(tmp_path: Path) -> None:
    with serving.start(tmp_path, serving.configuration(tmp_path / "store", workers=2, rest=SHORT)) as server:
        stored, rel = serving.fresh(), serving.fresh()
        assert server.put(stored, CONTENT).status == 201
        with half_upload(server, rel) as upload:
            download, _ = half_download(server, stored)
            server.signal(signal.SIGTERM)
            began = time.monotonic()
            refused = serving.read_answer(upload)
            assert refused.status == 503
            assert b"draining" in refused.body
            assert server.process.wait(PATIENCE_S) == 0
            assert time.monotonic() - began < UNASKED_S
            with download, pytest.raises(ConnectionResetError):
                read_to_end(download)
        assert server.files() == [f"upload/{stored}"]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with serving.start(tmp_path, serving.configuration(tmp_path / "store", workers=2)) as server:
        workers = server.workers
        with half_upload(server, serving.fresh()):
            server.signal(signal.SIGTERM)
            server.wait_for("serve-stopping")
            server.signal(signal.SIGINT)
            began = time.monotonic()
            assert server.process.wait(PATIENCE_S) == 1
            assert time.monotonic() - began < UNASKED_S
            for pid in workers:
                wait_until_gone(pid)
        assert server.files() == []


def test_workers_end_by_themselves_if_the_supervisor_is_killed(tmp_path: Path) -> None:
    with serving.start(tmp_path, serving.configuration(tmp_path / "store", workers=2)) as server:
        workers, rel = server.workers, serving.fresh()
        with half_upload(server, rel) as upload:
            server.process.kill()
            server.process.wait()
            upload.sendall(CONTENT[HALF:])
            assert serving.read_answer(upload).status == 201
            for pid in workers:
                wait_until_gone(pid)
        assert server.files() == [f"upload/{rel}"]
        # Nothing of it stands in the way of the next one, at the same place.
        listen = f'"{server.host}:{server.port}"'
        text = serving.configuration(tmp_path / "store", listen=listen)
        with serving.start(tmp_path, text) as successor:
            assert successor.get(rel).body == CONTENT
            assert successor.stop() == 0


def test_one_worker_told_to_end_finishes_and_is_replaced(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=1) as server:
        (pid,) = server.workers
        rel = serving.fresh()
        with half_upload(server, rel) as upload:
            os.kill(pid, signal.SIGTERM)
            upload.sendall(CONTENT[HALF:])
            assert serving.read_answer(upload).status == 201
        server.wait_for("worker-died", pid=pid)
        server.wait_for("worker-started")
        assert server.get(rel).body == CONTENT
        assert server.workers != [pid]


def test_reload_and_children_of_the_terminal(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group: the workers leave it to the supervisor."""
    with serving.running(tmp_path, workers=2) as server:
        for pid in server.workers:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGQUIT)
            os.kill(pid, signal.SIGHUP)
        server.signal(signal.SIGHUP)
        server.wait_for("reload-done")
        assert len(server.workers) == 2
        assert not [line for line in server.events if line["event"] == "worker-died"]


IGNORED = [signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR]
IGNORED += [signal.SIGSTKFLT, signal.SIGRTMIN, signal.SIGRTMAX]


def test_other_signals_end_nothing(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=2) as server:
        workers = server.workers
        for pid in (server.process.pid, *workers):
            for number in IGNORED:
                os.kill(pid, number)
        server.signal(signal.SIGHUP)  # whatever came before it has come by now
        server.wait_for("reload-done")
        assert server.workers == workers
        assert server.put(serving.fresh(), b"x").status == 201


def test_signals_before_it_is_ready_wait_or_are_ignored(tmp_path: Path) -> None:
    """A start takes a while: none of them ends it, and a reload is not forgotten."""
    with serving.launch(tmp_path, serving.configuration(tmp_path / "store")) as server:
        # The store is made before anything listens.
        while not (tmp_path / "store/.hmacfs").exists():
            assert server.process.poll() is None
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGALRM):
            server.signal(number)
        server.wait_for("serve-ready")
        server.wait_for("reload-done")
        assert server.stop() == 0


def test_the_log_is_opened_anew(tmp_path: Path) -> None:
    """By the supervisor and by every worker, also by one that is just starting; nothing else changes."""
    path, old = tmp_path / "hmacfs.log", tmp_path / "hmacfs.log.1"
    text = serving.configuration(tmp_path / "store", workers=2)
    text = text.replace('format = "json"', f'format = "json"\nfile = "{path}"')
    with serving.launch(tmp_path, text) as server:
        wait_for_line(path, "serve-ready")
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for_line(path, "worker-died")
        path.rename(old)
        server.signal(signal.SIGUSR1)
        wait_for_line(path, "log-reopened")
        server.signal(signal.SIGHUP)
        wait_for_line(path, "reload-done")
        before = old.read_bytes()
        server.signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        assert old.read_bytes() == before
        assert [json.loads(line)["event"] for line in path.read_text().splitlines()][-1] == "serve-stopped"


def wait_for_line(path: Path, event: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (path.exists() and f'"event":"{event}"' in path.read_text()):
        assert time.monotonic() < deadline, path.read_text() if path.exists() else "no log"
