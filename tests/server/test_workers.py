"""Workers that die, hang or run out of descriptors: the others go on, and one scrape tells of all."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import impatient
import procfs
import pytest
import serving
from serving import Server, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

GET = serving.head("GET", "/health", None)


def ask(sock: socket.socket) -> int:
    sock.sendall(GET)
    return serving.read_answer(sock).status


def everywhere(server: Server) -> dict[int, socket.socket]:
    """Return a kept connection to each worker, found by whose descriptors its socket is among."""
    found: dict[int, socket.socket] = {}
    wanted = set(server.workers)
    while set(found) != wanted:
        sock = server.connect()
        ask(sock)
        owner = next(pid for pid in wanted if sock.getsockname()[1] in procfs.remote_ports(pid))
        if owner in found:
            sock.close()
        else:
            found[owner] = sock
    return found


def test_a_killed_worker_is_replaced_and_loses_only_its_own(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=2) as server:
        kept = everywhere(server)
        killed, other = kept
        before = server.scrape()
        os.kill(killed, signal.SIGKILL)
        assert ask(kept[other]) == 200
        with pytest.raises((ConnectionResetError, EOFError)):
            ask(kept[killed])
        server.wait_for("worker-died", pid=killed)
        until(lambda: server.operate("/readyz")[0] == 200)
        assert ask(kept[other]) == 200
        assert other in server.workers
        assert killed not in server.workers
        for sock in kept.values():
            sock.close()
        ok = 'hmacfs_requests_total{code="ok",method="GET"}'
        after = server.scrape()
        assert after[ok] == before[ok] + 2, "counters survive, and one scrape is the sum"
        assert after["hmacfs_worker_starts_total"] == 3
        assert after["hmacfs_worker_deaths_total"] == 1
        assert after["hmacfs_workers"] == 2


def test_connections_queued_for_a_dead_worker_wait_for_its_successor(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=2, provokes={"worker-died"}) as server:
        os.kill(server.workers[0], signal.SIGKILL)
        socks = [server.connect() for _ in range(40)]
        assert [ask(sock) for sock in socks] == [200] * 40
        for sock in socks:
            sock.close()


def test_a_scrape_is_the_sum_of_all_workers(tmp_path: Path) -> None:
    with serving.running(tmp_path, workers=2) as server:
        kept = everywhere(server)
        ok = 'hmacfs_requests_total{code="ok",method="GET"}'
        before = server.scrape()
        assert before["hmacfs_connections"] == 2
        for sock in kept.values():
            for _ in range(10):
                ask(sock)
            sock.close()
        assert server.scrape()[ok] == before[ok] + 20
        until(lambda: server.scrape()["hmacfs_connections"] == 0)


def test_workers_that_die_at_once_are_started_ever_more_slowly(tmp_path: Path) -> None:
    """What takes the ground from under them is real: a file stands in the place of the storage."""
    with serving.start(
        tmp_path,
        serving.configuration(tmp_path / "store", workers=2),
        provokes={
            "worker-died",
            "uploads-barred",
            "storage-lost",
        },
    ) as server:
        storage, away = server.storage, tmp_path / "away"
        storage.rename(away)
        storage.write_bytes(b"")
        for pid in server.workers:
            os.kill(pid, signal.SIGKILL)
        slot = server.wait_for("worker-died")["slot"]
        delays = [server.wait_for("worker-died", slot=slot)["restart_in_s"] for _ in range(4)]
        assert delays == [0.2, 0.4, 0.8, 1.6]
        status, words = server.operate("/readyz?verbose")
        assert status == 503
        assert b"[-]workers failed: " in words
        assert server.operate("/livez")[0] == 200
        assert procfs.cpu_s(server.process.pid) < 5
        storage.unlink()
        away.rename(storage)
        until(lambda: server.operate("/readyz")[0] == 200)
        assert server.put(serving.fresh(), b"x").status == 201
        assert server.stop() == 0


def test_a_stuck_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    with serving.start(
        tmp_path,
        serving.configuration(tmp_path / "store", workers=2),
        provokes={"worker-died", "worker-stuck"},
        wrap=(sys.executable, impatient.__file__),
    ) as server:
        stuck, other = server.workers
        os.kill(stuck, signal.SIGSTOP)
        assert server.wait_for("worker-stuck")["pid"] == stuck
        server.wait_for("worker-started")
        until(lambda: server.operate("/readyz")[0] == 200)
        assert other in server.workers
        assert server.stop() == 0


def test_a_worker_stuck_in_its_start_is_replaced_too(tmp_path: Path) -> None:
    with serving.start(
        tmp_path,
        serving.configuration(tmp_path / "store", workers=1),
        provokes={"worker-died", "worker-stuck"},
        wrap=(sys.executable, impatient.__file__),
    ) as server:
        (first,) = server.workers
        os.kill(first, signal.SIGKILL)
        stuck = server.wait_for("worker-started")["pid"]
        os.kill(stuck, signal.SIGSTOP)
        assert server.wait_for("worker-stuck")["pid"] == stuck
        server.wait_for("worker-started")
        until(lambda: server.operate("/readyz")[0] == 200)
        assert server.stop() == 0


LIMITED = ("/bin/sh", "-c", 'ulimit -n 200; exec "$@"', "sh")


def test_few_descriptors_and_many_idle_connections(tmp_path: Path) -> None:
    """No spin, no stop: those who are in go on, those too many are told so."""
    with (
        serving.start(tmp_path, serving.configuration(tmp_path / "store"), wrap=LIMITED) as server,
        contextlib.ExitStack() as open_,
    ):
        body = os.urandom(4 << 20)
        rel = serving.fresh()
        assert server.put(rel, body).status == 201
        inside = open_.enter_context(server.connect())
        assert ask(inside) == 200
        (pid,) = server.workers
        crowd = [open_.enter_context(server.connect()) for _ in range(1000)]
        answers = []
        for sock in crowd[100:]:
            with contextlib.suppress(ConnectionResetError):
                answers.append(sock.recv(12))
        assert answers.count(b"HTTP/1.1 503") > 800, "who is too many is told"
        assert set(answers) <= {b"HTTP/1.1 503", b""}
        began = procfs.cpu_s(pid)
        for _ in range(20):
            inside.sendall(serving.head("GET", f"/upload/{rel}", None))
            assert serving.read_answer(inside).body == body
        assert procfs.cpu_s(pid) - began < 2
        for sock in crowd:
            sock.close()
        until(lambda: server.scrape()["hmacfs_connections"] == 1)
        assert server.put(serving.fresh(), b"x").status == 201
        assert server.workers == [pid]
        assert server.stop() == 0


def test_no_descriptor_is_left_at_all(tmp_path: Path) -> None:
    """Slow readers of files take three each; accepting and serving survive that none is left."""
    with (
        serving.start(tmp_path, serving.configuration(tmp_path / "store"), wrap=LIMITED) as server,
        contextlib.ExitStack() as open_,
    ):
        body = os.urandom(24 << 20)
        rel = serving.fresh()
        assert server.put(rel, body).status == 201
        (pid,) = server.workers
        slow = [open_.enter_context(server.connect()) for _ in range(36)]
        for sock in slow:
            sock.sendall(serving.head("GET", f"/upload/{rel}", None))
        for _ in range(200):
            open_.enter_context(server.connect())
        answers = [serving.read_answer(sock) for sock in slow]
        assert {answer.status for answer in answers} <= {200, 503}
        assert all(answer.body == body for answer in answers if answer.status == 200)
        assert server.workers == [pid]
        open_.close()
        until(lambda: server.scrape()["hmacfs_connections"] == 0)
        assert server.get(rel).body == body
        assert server.stop() == 0


def test_max_connections(tmp_path: Path) -> None:
    with serving.running(tmp_path, server="max_connections = 3") as server:
        inside = [server.connect() for _ in range(3)]
        assert [ask(sock) for sock in inside] == [200] * 3
        with server.connect() as fourth:
            answer = serving.read_answer(fourth)
            assert (answer.status, answer.fields["connection"]) == (503, "close")
            assert b"too_many_connections" in answer.body
        inside.pop().close()
        until(lambda: server.scrape()["hmacfs_connections"] == 2)
        with server.connect() as fourth:
            assert ask(fourth) == 200
        for sock in inside:
            assert ask(sock) == 200
            sock.close()


def test_accepting_survives_errors_of_the_system(tmp_path: Path, program: Callable[[str], str]) -> None:
    """libuv before 1.49 reported them, and uvloop then closed the server for good."""
    strace = (program("strace"), "-D", "-f", "-o", str(tmp_path / "trace"), "-e", "trace=accept4")
    inject = ("-e", "inject=accept4:error=ENOBUFS:when=3+2")
    text = serving.configuration(tmp_path / "store")
    with serving.start(tmp_path, text, wrap=(*strace, *inject)) as server:
        for _ in range(10):
            with server.connect() as sock:
                assert ask(sock) == 200
        assert "ENOBUFS" in (tmp_path / "trace").read_text()
        assert server.stop() == 0
