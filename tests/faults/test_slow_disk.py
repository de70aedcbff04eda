"""A disk that takes a second for a sync: downloads and other connections do not wait for it."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
import selfsigned
import serving
import tracing
import wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serving import Server

SYNC_S = 1.0
WRITE_S = 0.1
WRITERS = 8
UPLOADS = 3
# Who takes longer than this has waited for a slow call, or the machine had other work.
FAST_S = 0.5 * SYNC_S


def download_beside(
    uploads: list[threading.Thread], server: Server, rels: list[str], body: bytes
) -> list[float]:
    """Download again and again until the uploads have ended; give the seconds that each took."""
    taken_s = []
    for upload in uploads:
        upload.start()
    while any(upload.is_alive() for upload in uploads):
        for rel in rels:
            began = time.monotonic()
            assert server.get(rel).body == body
            taken_s.append(time.monotonic() - began)
    for upload in uploads:
        upload.join()
    return taken_s


def assert_few_wait(taken_s: list[float], calls: int) -> list[float]:
    """Fail if most slow calls held a download up, which the machine's other work does not; give the times."""
    held_up = [taken for taken in taken_s if taken > FAST_S]
    assert len(held_up) <= calls // 2, held_up
    return held_up


def test_downloads_stay_fast_while_a_sync_is_slow(
    tmp_path: Path, program: Callable[[str], str], figure: Callable[[str], None]
) -> None:
    body = b"x" * 50_000
    slow = ("-e", "trace=fsync", "-e", f"inject=fsync:delay_exit={int(SYNC_S * 1e6)}")
    with serving.running(tmp_path) as server:
        rels = [serving.fresh() for _ in range(20)]
        for rel in rels:
            assert server.put(rel, body).status == 201
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]) as trace:
            statuses: list[int] = []
            uploads = [
                threading.Thread(target=lambda: statuses.append(server.put(serving.fresh(), body).status))
                for _ in range(UPLOADS)
            ]
            taken_s = download_beside(uploads, server, rels, body)
        assert statuses == [201] * UPLOADS
    assert len(trace.calls()) >= 2 * UPLOADS
    assert all(re.search(r"\(DELAYED\)$", call.text) for call in trace.calls())
    assert_few_wait(taken_s, len(trace.calls()))
    taken_s.sort()
    figure(
        f"{len(taken_s)} downloads while {len(trace.calls())} syncs took {SYNC_S} s each: "
        f"median {taken_s[len(taken_s) // 2] * 1000:.1f} ms, max {taken_s[-1] * 1000:.1f} ms"
    )


@pytest.mark.parametrize("call", ["openat2", "mkdirat", "linkat"])
def test_a_slow_step_holds_up_the_loop_once(
    tmp_path: Path, program: Callable[[str], str], figure: Callable[[str], None], call: str
) -> None:
    """Small uploads that need no sync are the loop's own work, until the storage turns out to be slow."""
    body = b"x" * 50_000
    slow = ["-e", f"trace={call}", "-e", f"inject={call}:delay_exit={int(SYNC_S * 1e6)}"]
    with serving.running(tmp_path, server='durability = "relaxed"') as server:
        if call == "openat2":  # of the file without a name alone, in its endpoint's directory
            slow += ["-P", "upload"]
        rels = [serving.fresh() for _ in range(20)]
        for rel in rels:
            assert server.put(rel, body).status == 201
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]) as trace:
            statuses: list[int] = []
            uploads = [
                threading.Thread(target=lambda: statuses.append(server.put(serving.fresh(), body).status))
                for _ in range(2 * UPLOADS)
            ]
            taken_s = download_beside(uploads, server, rels, body)
        assert statuses == [201] * 2 * UPLOADS
    assert len(trace.calls()) >= 2 * UPLOADS
    held_up = assert_few_wait(taken_s, len(trace.calls()))
    taken_s.sort()
    figure(
        f"{len(taken_s)} downloads while {len(trace.calls())} {call} took {SYNC_S} s each: "
        f"{len(held_up)} held up, median {taken_s[len(taken_s) // 2] * 1000:.1f} ms"
    )


@pytest.mark.parametrize("size", [1000, 40_000, 600_000])
def test_downloads_stay_fast_while_writes_are_slow(
    size: int, tmp_path: Path, program: Callable[[str], str], figure: Callable[[str], None]
) -> None:
    """Every write to a file takes 100 ms; the first one shows it, the others are made beside the loop."""
    body = bytes(range(250)) * (size // 250)
    small = b"x" * 50_000
    slow = ("-e", "trace=pwrite64", "-e", f"inject=pwrite64:delay_enter={int(WRITE_S * 1e6)}")
    statuses: list[int] = []
    with serving.running(tmp_path) as server:
        rels = [serving.fresh() for _ in range(20)]
        for rel in rels:
            assert server.put(rel, small).status == 201
        kept = [serving.fresh() for _ in range(WRITERS)]
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]):
            uploads = [
                threading.Thread(target=lambda rel=rel: statuses.append(server.put(rel, body).status))
                for rel in kept
            ]
            taken_s = download_beside(uploads, server, rels, small)
        assert statuses == [201] * WRITERS
        for rel in kept:
            assert server.get(rel).body == body
        assert server.scrape()["hmacfs_buffer_pool_bytes"] == 0
    taken_s.sort()
    figure(
        f"{len(taken_s)} downloads beside {WRITERS} uploads of {size} bytes, {WRITE_S} s for each write: "
        f"median {taken_s[len(taken_s) // 2] * 1000:.1f} ms, "
        f"p99 {taken_s[int(len(taken_s) * 0.99)] * 1000:.1f} ms, max {taken_s[-1] * 1000:.1f} ms"
    )
    assert taken_s[len(taken_s) // 2] < WRITE_S  # or nearly every one waits for a write


def test_an_upload_that_came_whole_is_stored_though_its_client_is_gone(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    """The client leaves while a thread still opens the file, and the lane writes what had come."""
    slow = ["-e", "trace=openat,pwrite64", "-e", f"inject=openat:delay_exit={int(SYNC_S / 2 * 1e6)}"]
    slow += ["-e", f"inject=pwrite64:delay_enter={int(WRITE_S * 1e6)}"]
    with serving.running(tmp_path) as server:
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]):
            assert server.put(serving.fresh(), b"shows that all of it is slow").status == 201
            rel = serving.fresh()
            with server.connect() as sock:
                fields = {"Content-Type": "application/octet-stream"}
                put = serving.head("PUT", serving.signed(rel, 4), fields, 4) + b"body"
                sock.sendall(serving.head("GET", "/health", None) + put)
                assert serving.take_answer(sock, b"")[0].status == 200  # so the upload has begun as well
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.wait_for("request", method="PUT", status=201)  # the first
            server.wait_for("request", method="PUT", status=201)
        assert server.get(rel).body == b"body"
        assert not wire.failures(server)


DOORS = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt", "gojwt"]
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""
BOUNDARY = "XyZ"


def chunked(rel: str, body: bytes) -> bytes:
    """Write an upload in chunks of 1,000 bytes."""
    target, token = serving.bearer(rel, len(body), "text/plain", dialect="jwt", prefix="/share/")
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return serving.head("PUT", target, {"Authorization": token, "Transfer-Encoding": "chunked"}) + coded


def form(rel: str, body: bytes) -> bytes:
    """Write an upload as the file of a form."""
    _, token = serving.bearer("any/name", 0, dialect="gojwt")
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{rel}"\r\n\r\n'
    sent = top.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
    fields = {"Authorization": token, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return serving.head("POST", "/upload", fields, len(sent)) + sent


def plain(rel: str, body: bytes) -> bytes:
    """Write an upload as an XMPP client does."""
    target, token = serving.bearer(rel, len(body), "text/plain", dialect="jwt", prefix="/share/")
    return serving.head("PUT", target, {"Authorization": token}, len(body)) + body


@pytest.mark.parametrize("write", [chunked, form, plain])
def test_downloads_stay_fast_while_what_needs_decoding_is_written_slowly(
    write: Callable[[str, bytes], bytes],
    tmp_path: Path,
    program: Callable[[str], str],
    figure: Callable[[str], None],
) -> None:
    """Chunks, forms and TLS come through the transport; a client that then ends is not cut short."""
    body, small = bytes(range(250)) * 2000, b"x" * 50_000
    slow = ("-e", "trace=pwrite64", "-e", f"inject=pwrite64:delay_enter={int(WRITE_S * 1e6)}")
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    statuses: list[int] = []
    with serving.running(tmp_path, rest=DOORS.format(crt=crt, key=key)) as server:
        port = selfsigned.port_of(server)

        def send(rel: str) -> None:
            with selfsigned.greet(port, crt) if write is plain else server.connect() as sock:
                sock.sendall(write(rel, body))
                if not isinstance(sock, ssl.SSLSocket):
                    sock.shutdown(socket.SHUT_WR)
                statuses.append(serving.read_answer(sock, "PUT").status)

        rels = [serving.fresh() for _ in range(20)]
        for rel in rels:
            assert server.put(rel, small).status == 201
        kept = [serving.fresh().replace("/", "-") for _ in range(WRITERS)]
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]) as trace:
            uploads = [threading.Thread(target=send, args=[rel]) for rel in kept]
            taken_s = download_beside(uploads, server, rels, small)
        assert set(statuses) <= {200, 201}
        assert len(statuses) == WRITERS
        for rel in kept:
            assert server.request("GET", f"/share/{rel}").body == body
    taken_s.sort()
    figure(
        f"{len(taken_s)} downloads beside {WRITERS} uploads ({write.__name__}), {WRITE_S} s for each write: "
        f"median {taken_s[len(taken_s) // 2] * 1000:.1f} ms, max {taken_s[-1] * 1000:.1f} ms"
    )
    held_up_s = sum(taken for taken in taken_s if taken > WRITE_S)
    assert held_up_s < len(trace.calls()) * WRITE_S / 4
