"""Slow clients: each kind is ended in its own time and its own way, and the honest ones are not.

Times are those of the configuration plus the worker's tick; the upper bounds are generous, since the
machine may be busy, and only tell "in time" from "never".
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import serving
import wire
from wire import Wire

from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

HEAD_S = 0.5
READ_S = 0.5
WRITE_S = 0.6
IDLE_S = 0.7
MIN_RATE = 20 * KiB  # bytes per second
LATE_S = 60.0
CONFIG = f"""
[timeouts]
headertimeout = "{HEAD_S * 1000:.0f}ms"
readtimeout = "{READ_S * 1000:.0f}ms"
writetimeout = "{WRITE_S * 1000:.0f}ms"
idletimeout = "{IDLE_S * 1000:.0f}ms"
min_rate = "20KB"
linger = "500ms"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
"""
SMALL = "timed/small.bin"
LARGE = "timed/large.bin"
LARGE_BYTES = 256 * MiB
RESET = (ConnectionResetError, BrokenPipeError)
pause = threading.Event()  # never set: its wait is the pace of a slow client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("timed"), rest=CONFIG) as server:
        assert server.put(SMALL, b"small").status == 201
        with (server.storage / "upload" / LARGE).open("wb") as file:
            file.truncate(LARGE_BYTES)
        yield server
        wire.settle(server)
        assert server.files() == [f"upload/{LARGE}", f"upload/{SMALL}"]


def get(rel: str) -> bytes:
    return serving.head("GET", f"/upload/{rel}", None)


def put(size: int) -> bytes:
    target = serving.signed(serving.fresh(), size)
    return serving.head("PUT", target, {"Content-Type": "application/octet-stream"}, size)


def timed(client: Wire, since: float, at_least: float) -> Answer | None:
    """Return what comes next, which must come no earlier than it may and no later than it must."""
    answer = client.read()
    took = time.monotonic() - since
    assert at_least - 0.05 <= took < LATE_S
    return answer


def refused(client: Wire, since: float, at_least: float, code: str) -> None:
    answer = timed(client, since, at_least)
    assert answer is not None
    assert answer.status == 408
    assert code.encode() in answer.body
    assert answer.fields["connection"] == "close"
    assert client.rest() == b""


def test_nothing_at_all_is_closed_quietly(server: Server) -> None:
    since = time.monotonic()
    with Wire(server) as client:
        assert timed(client, since, IDLE_S) is None


def test_an_idle_connection_is_closed_quietly(server: Server) -> None:
    with Wire(server) as client:
        client.send(get(SMALL))
        assert client.expect().status == 200
        since = time.monotonic()
        assert timed(client, since, IDLE_S) is None


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"\r\n", get(SMALL)[:-1]])
def test_half_a_head(server: Server, begun: bytes) -> None:
    since = time.monotonic()
    with Wire(server) as client:
        client.send(begun)
        refused(client, since, HEAD_S, "request_timeout")


def test_half_a_head_after_a_whole_one(server: Server) -> None:
    since = time.monotonic()
    with Wire(server) as client:
        client.send(get(SMALL) + b"GET /")
        assert client.expect().status == 200
        refused(client, since, HEAD_S, "request_timeout")


def test_a_head_that_trickles_has_no_more_time(server: Server) -> None:
    """The time is for the whole head: a byte now and then does not extend it."""
    since = time.monotonic()
    with Wire(server) as client:
        client.sock.settimeout(0.05)
        data = iter(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 80)
        answer = None
        while answer is None:
            assert time.monotonic() - since < LATE_S
            client.send(bytes([next(data)]))
            with contextlib.suppress(TimeoutError):
                answer = client.expect()
        assert answer.status == 408
        assert time.monotonic() - since >= HEAD_S - 0.05


@pytest.mark.parametrize("sent", [0, 1, 5 * KiB])
def test_a_body_that_stops(server: Server, sent: int) -> None:
    with Wire(server) as client:
        client.send(put(MiB) + bytes(sent))
        since = time.monotonic()
        refused(client, since, READ_S if sent < KiB else 0, "body_too_slow")


def test_a_chunked_body_that_stops(server: Server) -> None:
    target, token = serving.bearer("u/chunked.bin", MiB, prefix="/share/")
    fields = {"Authorization": token, "Transfer-Encoding": "chunked"}
    with Wire(server) as client:
        client.send(serving.head("PUT", target, fields) + b"100000\r\nxyz")
        refused(client, time.monotonic(), READ_S, "body_too_slow")


def test_a_body_that_trickles_below_the_rate(server: Server) -> None:
    with Wire(server) as client:
        client.sock.settimeout(0.05)
        client.send(put(MiB))
        answer, since = None, time.monotonic()
        while answer is None:
            assert time.monotonic() - since < LATE_S
            client.send(bytes(100))  # 2 KB/s
            with contextlib.suppress(TimeoutError):
                answer = client.expect()
        assert (answer.status, b"body_too_slow" in answer.body) == (408, True)


def test_an_honest_slow_body_arrives(server: Server) -> None:
    """Slower than all time limits, faster than the minimum rate."""
    piece, count = 4 * KiB, 40
    with Wire(server) as client:
        client.send(
            serving.head("PUT", serving.signed(rel := serving.fresh(), piece * count), TYPED, piece * count)
        )
        since = time.monotonic()
        for _ in range(count):
            client.send(bytes(piece))
            pause.wait(0.05)  # 80 KB/s at most
        assert client.expect().status == 201
        assert time.monotonic() - since > 3 * READ_S
    (server.storage / "upload" / rel).unlink()


TYPED = {"Content-Type": "application/octet-stream"}


def reader(server: Server, buffer: int | None) -> socket.socket:
    """Connect with a receive buffer of this size; None leaves it to the kernel."""
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(LATE_S)
    sock.connect((server.host, server.port))
    return sock


def drain(sock: socket.socket) -> None:
    while sock.recv(MiB):
        pass


@pytest.mark.parametrize("buffer", [4 * KiB, None])
def test_a_client_that_does_not_read_is_reset(server: Server, buffer: int | None) -> None:
    with reader(server, buffer) as sock:
        since = time.monotonic()
        sock.sendall(get(LARGE))
        line = server.wait_for("request", broken="client_stalled")
        assert WRITE_S - 0.05 <= time.monotonic() - since < LATE_S
        assert line["out"] < LARGE_BYTES
        with pytest.raises(RESET):
            drain(sock)


def test_a_client_that_stops_reading_is_reset(server: Server) -> None:
    with reader(server, 64 * KiB) as sock:
        sock.sendall(get(LARGE))
        for _ in range(64):
            sock.recv(64 * KiB)
        server.wait_for("request", broken="client_stalled")
        with pytest.raises(RESET):
            drain(sock)


@pytest.mark.parametrize("buffer", [4 * KiB, 256 * KiB, None])
def test_an_honest_slow_reader_is_served(server: Server, buffer: int | None) -> None:
    """Large buffers hide for long that it reads; what it has read counts, not what we could send."""
    with reader(server, buffer) as sock:
        sock.sendall(get(LARGE))
        since, got = time.monotonic(), 0
        while time.monotonic() - since < 4 * WRITE_S:
            got += len(sock.recv(16 * KiB))
            pause.wait(0.05)  # 320 KB/s at most
        assert got > 2 * MIN_RATE * 4 * WRITE_S
        while got < LARGE_BYTES:
            data = sock.recv(MiB)
            assert data
            got += len(data)


def test_pipelining_without_reading_is_reset(server: Server) -> None:
    with reader(server, 4 * KiB) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * KiB)
        sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError, *RESET):
            while True:
                sock.sendall(get(SMALL) * 100)
        server.wait_for("request", broken="client_stalled")


def test_slow_clients_do_not_slow_others(server: Server) -> None:
    with contextlib.ExitStack() as crowd:
        for number in range(150):
            slow = crowd.enter_context(Wire(server))
            slow.send((b"GET /", put(MiB) + b"x", get(LARGE))[number % 3])
        took = []
        for _ in range(50):
            since = time.monotonic()
            assert server.get(SMALL).status == 200
            took.append(time.monotonic() - since)
        assert sorted(took)[len(took) // 2] < READ_S  # or they wait until the slow are ended
    wire.settle(server)
