"""Listening sockets and the service manager: every address form, what is refused and in which words."""

from __future__ import annotations

import contextlib
import grp
import itertools
import os
import queue
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import loopback
import pytest
import selfsigned
import serving
from serving import PATIENCE_S, Server

GET = serving.head("GET", "/health", None)


def listening(server: Server) -> list[str]:
    """Return the addresses that the server says it listens on."""
    line = next(line for line in server.events if line["event"] == "serve-ready")
    return str(line["listening"]).split()


def ask_at(name: str) -> int:
    if name.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(name.removeprefix("unix:"))
            sock.sendall(GET)
            return serving.read_answer(sock).status
    host, _, port = name.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S) as sock:
        sock.sendall(GET)
        return serving.read_answer(sock).status


def refused(where: Path, text: str, user: int | None = None) -> str:
    """Start a server that must refuse to; give the one line that it says."""
    config = where / "refused.toml"
    config.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "hmacfs", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        cwd=where,
        timeout=PATIENCE_S,
        user=user,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("hmacfs: ")
    return line


def test_several_addresses_of_every_family(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    addresses = f'["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "unix:{path}"]'
    with serving.running(tmp_path, workers=2, listen=addresses) as server:
        names = listening(server)
        assert [name.rpartition(":")[0] for name in names] == ["127.0.0.1", "127.0.0.2", "[::1]", "unix"]
        for name in names:
            assert [ask_at(name) for _ in range(8)] == [200] * 8
    assert not path.exists(), "the name goes with the server"


@pytest.mark.parametrize("host", ["", "[::]"])
def test_every_address_is_that_of_both_families(tmp_path: Path, host: str) -> None:
    """One rule for all listeners: [server], [tls] and [metrics]."""
    certificate, key = selfsigned.make(shutil.which("openssl") or "openssl", tmp_path)
    tls = f'[tls]\nlisten_address = "{host}:0"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    text = serving.configuration(tmp_path / "store", workers=2, listen=f'"{host}:0"', rest=tls)
    text = text.replace('listen_address = "127.0.0.1:0"', f'listen_address = "{host}:0"')
    with serving.start(tmp_path, text) as server:
        names = [*listening(server), server.operators]
        assert len(names) == 5
        ports = [name.rpartition(":")[2] for name in names]
        assert [ports[0], ports[2]] == [ports[1], ports[3]]
        for port in ports:
            for one in ("127.0.0.1", "::1"):
                socket.create_connection((one, int(port)), timeout=PATIENCE_S).close()
        assert server.stop() == 0


def test_ipv6_beside_ipv4_is_ipv6_alone(tmp_path: Path) -> None:
    port = loopback.free_address().rpartition(":")[2]
    with serving.running(tmp_path, listen=f'["0.0.0.0:{port}", "[::]:{port}"]') as server:
        assert listening(server) == [f"0.0.0.0:{port}", f"[::]:{port}"]
        assert [ask_at(f"127.0.0.1:{port}"), ask_at(f"[::1]:{port}")] == [200, 200]


def test_mode_and_group_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    group = grp.getgrgid(os.getgroups()[-1] if os.getgroups() else os.getgid())
    options = f'socket_mode = "0620"\nsocket_group = "{group.gr_name}"'
    with serving.running(tmp_path, listen=f'"unix:{path}"', server=options):
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == 0o620
        assert found.st_gid == group.gr_gid


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    assert path.is_socket()
    with serving.running(tmp_path, listen=f'"unix:{path}"'):
        assert ask_at(f"unix:{path}") == 200


def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with serving.running(tmp_path, listen=f'"unix:{path}"'):
        text = serving.configuration(tmp_path / "other", listen=f'"unix:{path}"')
        assert f"another server listens on {path}" in refused(tmp_path, text)
        assert ask_at(f"unix:{path}") == 200


@pytest.mark.parametrize("whose", ["server", "operators"])
def test_the_socket_of_another_that_took_the_name_is_left_alone(tmp_path: Path, whose: str) -> None:
    """As when a successor has started before this one has ended."""
    path = tmp_path / "http.sock"
    listen = f'"unix:{path}"' if whose == "server" else '"127.0.0.1:0"'
    text = serving.configuration(tmp_path / "store", listen=listen)
    if whose == "operators":
        text = text.replace(
            '[metrics]\nlisten_address = "127.0.0.1:0"', f'[metrics]\nlisten_address = "unix:{path}"'
        )
    with serving.start(tmp_path, text) as server:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
            successor.listen()
            assert server.stop() == 0
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))


def test_the_operators_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "operators.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        text = serving.configuration(tmp_path / "store")
        text = text.replace(
            '[metrics]\nlisten_address = "127.0.0.1:0"', f'[metrics]\nlisten_address = "unix:{path}"'
        )
        assert f"another server listens on {path}" in refused(tmp_path, text)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    path.write_text("precious")
    text = serving.configuration(tmp_path / "store", listen=f'"unix:{path}"')
    assert f"{path} exists and is not a socket" in refused(tmp_path, text)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use(tmp_path: Path, workers: int) -> None:
    """Also when it is another hmacfs that has it, whose sockets could be shared."""
    with serving.running(tmp_path, workers=2) as server:
        place = f"{server.host}:{server.port}"
        text = serving.configuration(tmp_path / "other", listen=f'"{place}"', workers=workers)
        assert f"cannot listen on {place}: Address already in use" in refused(tmp_path, text)


def test_the_operators_port_in_use(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with serving.running(tmp_path) as server:
        text = serving.configuration(tmp_path / "other", listen=f'"unix:{path}"').replace(
            '"127.0.0.1:0"', f'"{server.operators}"'
        )
        assert f"cannot listen on {server.operators} for [metrics]" in refused(tmp_path, text)
    assert not path.exists(), "nothing is left behind"


@pytest.mark.parametrize("address", ["203.0.113.7:8080", "no-such-host.invalid:80"])
def test_an_address_that_is_not_ours(tmp_path: Path, address: str) -> None:
    text = serving.configuration(tmp_path / "store", listen=f'"{address}"')
    assert f"cannot listen on {address}: " in refused(tmp_path, text)


def test_a_group_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    options = 'socket_group = "no-such-group"'
    text = serving.configuration(tmp_path / "store", listen=f'"unix:{path}"', server=options)
    assert "there is no group 'no-such-group'" in refused(tmp_path, text)
    assert not path.exists(), "nothing is left behind"


def test_a_storage_that_cannot_be_one(tmp_path: Path) -> None:
    storage = tmp_path / "store"
    storage.write_text("a file")
    assert str(storage) in refused(tmp_path, serving.configuration(storage))


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    """/proc is a directory in which nobody, not even root, may make a file."""
    assert "/proc" in refused(tmp_path, serving.configuration(Path("/proc")))


def test_variables_of_a_manager_that_are_no_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert "WATCHDOG_USEC" in refused(tmp_path, serving.configuration(tmp_path / "store"))


class Manager:
    """A service manager's notification socket. It always reads: what it has no room for is lost."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._messages: queue.SimpleQueue[tuple[float, dict[str, str]]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while data := self._sock.recv(4096):
            message = dict(line.split("=", 1) for line in data.decode().splitlines())
            self._messages.put((time.monotonic(), message))

    def hear(self, wanted: str) -> tuple[float, dict[str, str]]:
        """Return when the next message came that sets `wanted`, and the message as a table."""
        while True:
            came, message = self._messages.get(timeout=PATIENCE_S)
            if wanted in message:
                return came, message

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._sock.close()


def test_the_service_manager_hears_of_everything(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with contextlib.closing(Manager(path)) as manager:
        environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        text = serving.configuration(tmp_path / "store", workers=2)
        with serving.start(tmp_path, text, environ=environ, provokes={"reload-refused"}) as server:
            assert manager.hear("READY")[1]["READY"] == "1"
            beats = [manager.hear("WATCHDOG")[0] for _ in range(4)]
            # All of them are too long apart if the interval is; one is if the machine has other work.
            assert min(b - a for a, b in itertools.pairwise(beats)) < 1, "within the interval"
            before_us = time.monotonic_ns() // 1000
            server.signal(signal.SIGHUP)
            _, said = manager.hear("RELOADING")
            assert before_us <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert manager.hear("READY")[1]["STATUS"] == "reloaded"
            server.config.write_text("nonsense")
            server.signal(signal.SIGHUP)
            manager.hear("RELOADING")
            assert "refused" in manager.hear("READY")[1]["STATUS"]
            server.signal(signal.SIGTERM)
            assert manager.hear("STOPPING")[1]["STOPPING"] == "1"
            assert server.process.wait(PATIENCE_S) == 0


def test_workers_do_not_speak_to_the_service_manager(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with contextlib.closing(Manager(path)):
        environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        with serving.start(tmp_path, serving.configuration(tmp_path / "store"), environ=environ) as server:
            for pid in server.workers:
                assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert server.stop() == 0


def test_each_worker_has_a_socket_of_its_own_and_they_stay(tmp_path: Path) -> None:
    """One SO_REUSEPORT socket per slot; a worker that is replaced takes over its predecessor's."""
    with serving.running(tmp_path, workers=2) as server:
        before = inodes(server.port)
        assert len(before) == 2
        for pid in server.workers:
            os.kill(pid, signal.SIGKILL)
            server.wait_for("worker-died", pid=pid)
        for _ in range(2):
            server.wait_for("worker-started")
        assert [ask_at(listening(server)[0]) for _ in range(20)] == [200] * 20
        assert inodes(server.port) == before


def inodes(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on `port` of 127.0.0.1: others may use it elsewhere."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {line[9] for line in lines if line[3] == "0A" and line[1] == f"0100007F:{port:04X}"}
