"""Connections that keep asking for what is in memory are read by the crowd: nobody must notice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from typing import TYPE_CHECKING

import pytest
import serving
import tracing
from serving import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Server

CONTENT = bytes(range(256)) * 8
FILE = "kept/picture.png"
MEMBERS = 12
STEADY = 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving.running(tmp_path) as server:
        assert server.put(FILE, CONTENT, "image/png").status == 201
        yield server


@pytest.fixture
def members(server: Server) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as open_:
        yield gather(server, open_)


def gather(server: Server, open_: contextlib.ExitStack) -> list[socket.socket]:
    """Return connections that are in the crowd."""
    socks = [open_.enter_context(server.connect()) for _ in range(MEMBERS)]
    for _ in range(STEADY):
        for sock in socks:
            sock.sendall(usual())
        for sock in socks:
            assert serving.read_answer(sock).body == CONTENT
    return socks


def usual(method: str = "GET") -> bytes:
    return serving.head(method, f"/upload/{FILE}", None)


def test_the_crowd_reads_by_itself(
    server: Server, members: list[socket.socket], tmp_path: Path, program: Callable[[str], str]
) -> None:
    """The transports' reads, which are read(2), give way to recvfrom(2)."""
    calls = ("-e", "trace=read,recvfrom")
    with tracing.attached(program("strace"), tmp_path / "log", *calls, process=server.workers[0]) as trace:
        for sock in members:
            sock.sendall(usual())
            assert serving.read_answer(sock).body == CONTENT
    reads = [call.name for call in trace.calls() if "GET /upload" in call.text]
    assert reads == ["recvfrom"] * MEMBERS


def test_unusual_requests_and_uploads_find_their_way(members: list[socket.socket]) -> None:
    body = os.urandom(3 << 20)
    for number, sock in enumerate(members):
        rel = serving.fresh()
        put = serving.head("PUT", serving.signed(rel, len(body)), None, len(body))
        for begun in (usual("HEAD"), serving.head("GET", f"/upload/{FILE}", {"Range": "bytes=-5"})):
            sock.sendall(begun)
            method = "HEAD" if begun.startswith(b"HEAD") else "GET"
            assert serving.read_answer(sock, method).status in (200, 206)
        sock.sendall(put + body[: 1000 * number])
        sock.sendall(body[1000 * number :])
        assert serving.read_answer(sock).status == 201
        sock.sendall(serving.head("GET", f"/upload/{rel}", None))
        assert serving.read_answer(sock).body == body
    for sock in members:
        sock.sendall(usual())
        assert serving.read_answer(sock).body == CONTENT


def test_heads_in_pieces_and_many_at_once(members: list[socket.socket]) -> None:
    sock = members[0]
    for cut in range(1, len(usual())):
        sock.sendall(usual()[:cut])
        sock.sendall(usual()[cut:])
        assert serving.read_answer(sock).body == CONTENT
    many = 3000  # more than one read takes, and than is answered in a turn
    sock = members[1]
    sock.sendall(usual("HEAD") * many)
    received = b""
    for _ in range(many):
        answer, received = serving.take_answer(sock, received, "HEAD")
        assert answer.status == 200
    assert received == b""


def test_what_is_malformed_is_refused(members: list[socket.socket]) -> None:
    faults = [b"\0\1\2\r\n\r\n", b"GET / HTTP/1.1\n\n", b"PUT /x HTTP/1.1\r\nHost: a\r\n\r\n"]
    for sock, raw in zip(members, faults, strict=False):
        sock.sendall(raw)
        assert serving.read_answer(sock).status >= 400


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def leave(sock: socket.socket) -> None:
    sock.close()


def ask_and_leave(sock: socket.socket) -> None:
    """A client of few words says with its end that it has asked everything (RFC 9112 9.6)."""
    sock.sendall(usual())
    sock.shutdown(socket.SHUT_WR)
    assert serving.read_answer(sock).body == CONTENT
    assert sock.recv(1) == b""


@pytest.mark.parametrize("end", [reset, leave, ask_and_leave])
def test_ends_are_noticed(
    server: Server, members: list[socket.socket], end: Callable[[socket.socket], None]
) -> None:
    for sock in members[1:]:
        end(sock)
    until(lambda: server.scrape()["hmacfs_connections"] == 1)
    members[0].sendall(usual())
    assert serving.read_answer(members[0]).body == CONTENT


def test_a_crowd_that_does_not_read_is_bounded(members: list[socket.socket]) -> None:
    """Answers that a socket does not take are finished by the cold path."""
    sock = members[0]
    many = 3000
    sock.setblocking(False)
    sent = 0
    request = usual() * many
    with contextlib.suppress(BlockingIOError):
        while sent < len(request):
            sent += sock.send(request[sent:])
    sock.setblocking(True)
    members[1].sendall(usual())
    assert serving.read_answer(members[1]).body == CONTENT
    asked = sent // len(usual())
    received = b""
    for _ in range(asked):
        answer, received = serving.take_answer(sock, received)
        assert answer.body == CONTENT


def is_last(sock: socket.socket) -> bool:
    """Ask once more; tell whether the answer says that it was the last."""
    sock.sendall(usual())
    answer = serving.read_answer(sock)
    assert answer.body == CONTENT
    return answer.fields.get("connection") == "close"


def test_a_drain_reaches_the_crowd(tmp_path: Path) -> None:
    """Who asks once more is answered and told that it was the last; who is silent is let go."""
    with (
        serving.start(tmp_path, serving.configuration(tmp_path / "store")) as server,
        contextlib.ExitStack() as open_,
    ):
        assert server.put(FILE, CONTENT, "image/png").status == 201
        members = gather(server, open_)
        server.signal(signal.SIGTERM)
        until(lambda: is_last(members[0]))
        for sock in members[2::2]:
            assert is_last(sock)
        for sock in members:
            assert sock.recv(1) == b""
        server.wait_for("serve-stopped")
