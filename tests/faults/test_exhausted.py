"""A write of a body that fails since something is used up: busy, and when to come again; on each way there.

A body is written by the loop as long as the disk is quick, and by threads from then on. What a write may say
is the same for both, and for each door.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING, NamedTuple

import interpose
import languages
import pytest
import selfsigned
import serving
from interpose import Rule
from languages import ALICE, OCTETS, PART, TUS

from hmacfs.model import KiB

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from serving import Answer, Server

pytestmark = pytest.mark.slow

ENDPOINTS = """
[performance]
client_profiling = false
min_chunk_size = "512KB"
max_chunk_size = "512KB"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt", "gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""
SIZE = 512 * KiB
BODY = bytes(range(256)) * (SIZE // 256)
TYPE = {"Content-Type": "application/octet-stream"}
BOUNDARY = "XyZ"
WRITE_S = 0.1
PIECE_BYTES = 4096  # less is no body: a note, or the index


class Sent(NamedTuple):
    """A request that brings a body."""

    head: bytes
    body: bytes = BODY


def plain(_server: Server) -> Sent:
    return Sent(serving.head("PUT", serving.signed(serving.fresh(), SIZE), TYPE, SIZE))


def encrypted(server: Server) -> Sent:
    return plain(server)


def coded(_server: Server) -> Sent:
    target, token = serving.bearer(serving.fresh(), SIZE, prefix="/share/")
    fields = {"Authorization": token, "Transfer-Encoding": "chunked"}
    return Sent(serving.head("PUT", target, fields), languages.chunked(BODY, 50_000))


def form(_server: Server) -> Sent:
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
    body = top + BODY + f"\r\n--{BOUNDARY}--\r\n".encode()
    fields = {**languages.go_bearer(), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Sent(serving.head("POST", "/upload", fields, len(body)), body)


def tus(server: Server) -> Sent:
    target = languages.create(server, SIZE)
    return Sent(serving.head("PATCH", target, {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0"}, SIZE))


def tus_creation(_server: Server) -> Sent:
    fields = {**TUS, **ALICE, **OCTETS, "Upload-Length": str(SIZE)}
    return Sent(serving.head("POST", "/files/", fields, SIZE))


def ietf(_server: Server) -> Sent:
    fields = {**TYPE, "Upload-Complete": "?1"}
    return Sent(serving.head("PUT", serving.signed(serving.fresh(), SIZE), fields, SIZE))


def ietf_append(server: Server) -> Sent:
    begun = server.request("POST", "/files/", fields={**ALICE, "Upload-Complete": "?0"})
    fields = {**ALICE, **PART, "Upload-Offset": "0", "Upload-Complete": "?1"}
    return Sent(serving.head("PATCH", begun.fields["location"], fields, SIZE))


def content_range(_server: Server) -> Sent:
    target = serving.signed(serving.fresh(), 2 * SIZE)
    return Sent(
        serving.head("PUT", target, {**TYPE, "Content-Range": f"bytes 0-{SIZE - 1}/{2 * SIZE}"}, SIZE)
    )


def chunk(server: Server) -> Sent:
    name = serving.fresh()
    target = f"/chunked-upload?{serving.signed(name, 2 * SIZE).partition('?')[2]}"
    fields = {"X-Filename": name, "X-Total-Size": str(2 * SIZE), "Content-Length": "0", **TYPE}
    begun = server.request("POST", target, fields=fields)
    session = begun.body.partition(b'"session_id": "')[2][:32].decode()
    fields = {"X-Upload-Session-ID": session, "X-Chunk-Number": "0"}
    return Sent(serving.head("POST", target, fields, SIZE))


def greet(server: Server, crt: Path) -> socket.socket:
    return selfsigned.greet(selfsigned.port_of(server), crt)


def exchange(sock: socket.socket, sent: Sent) -> Answer:
    """Send a request whose answer may come before its end."""

    def send() -> None:
        with contextlib.suppress(OSError):
            sock.sendall(sent.head + sent.body)

    mouth = threading.Thread(target=send)
    mouth.start()
    try:
        return serving.read_answer(sock, "PUT")
    finally:
        mouth.join()


DOORS = [plain, encrypted, coded, form, tus, tus_creation, ietf, ietf_append, content_range, chunk]


@pytest.mark.parametrize(("error", "slow_s"), [(errno.EMFILE, 0.0), (errno.ENOMEM, WRITE_S)])
@pytest.mark.parametrize("door", DOORS)
def test_the_client_is_told_to_come_again(
    door: Callable[[Server], Sent], error: int, slow_s: float, tmp_path: Path, program: Callable[[str], str]
) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    slow = Rule(delay_s=(slow_s, slow_s), delay_bytes=PIECE_BYTES)
    with (
        interpose.built(program("gcc"), tmp_path, seed=1) as faults,
        serving.running(tmp_path, environ=faults.environ, rest=ENDPOINTS.format(crt=crt, key=key)) as server,
    ):
        faults.set({"pwrite": slow})
        assert server.put(serving.fresh(), BODY).status == 201  # which shows how quick the disk is
        sent = door(server)
        faults.set({"pwrite": slow._replace(fail=1.0, fail_bytes=PIECE_BYTES, error=error)})
        with greet(server, crt) if door is encrypted else server.connect() as sock:
            answer = exchange(sock, sent)
        assert (*languages.refusal(answer), answer.fields.get("retry-after")) == (503, "busy", "5"), answer
        failed = faults.counts()["pwrite"]
        assert (failed.failed, failed.aside) == (1, 1 if slow_s else 0)
        faults.set({})
        assert server.put(serving.fresh(), BODY).status == 201
