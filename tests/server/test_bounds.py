"""What one client may take: unfinished uploads, files before a byte, the time of a body, parts."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import selfsigned
import serving
import wire
from languages import ALICE, OCTETS, PART, TUS, refusal

from hmacfs.app.resumable import tus_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Answer, Server

MOST = 5
TYPE = {"Content-Type": "application/octet-stream"}
TOTAL_S = 1.0
REST = f"""{languages.CONFIG}
[uploads]
max_unfinished = {MOST}
bodytimeout = "{TOTAL_S:.0f}s"
"""
GO = languages.go_bearer()
SIGNED = serving.signed("a/f", 100).partition("?")[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving.running(tmp_path, rest=REST, workers=2) as server:
        yield server
        wire.settle(server)


def tus(owner: str, length: int = 1) -> Callable[[Server], Answer]:
    holds = languages.holder(owner)
    return lambda server: server.request(
        "POST", "/files/", fields={**TUS, **holds, "Upload-Length": str(length)}
    )


def deferred(server: Server) -> Answer:
    return server.request("POST", "/files/", fields={**TUS, **ALICE, "Upload-Defer-Length": "1"})


def partial(server: Server) -> Answer:
    fields = {**TUS, **ALICE, "Upload-Length": "9", "Upload-Concat": "partial"}
    return server.request("POST", "/files/", fields=fields)


def ietf(server: Server) -> Answer:
    return server.request("POST", "/files/", fields={**ALICE, "Upload-Complete": "?0"})


def begun(server: Server) -> Answer:
    """Bring the first byte as well."""
    fields = {**TUS, **OCTETS, **ALICE, "Upload-Length": "2", "Content-Length": "1"}
    return server.request("POST", "/files/", fields=fields, body=b"x")


def chunks_by_jwt(server: Server) -> Answer:
    fields = {**GO, "X-Filename": "f", "X-Total-Size": "100"}
    return server.request("POST", "/chunked-upload", fields=fields)


def chunks_by_slot(server: Server) -> Answer:
    fields = {**TYPE, "X-Filename": "a/f", "X-Total-Size": "100"}
    return server.request("POST", f"/chunked-upload?{SIGNED}", fields=fields)


def slot_of_an_owner(server: Server) -> Answer:
    """Many slots, of which the token tells whose they are."""
    target, token = serving.bearer(serving.fresh(), 100)
    fields = {"Authorization": token, **TYPE, "Upload-Complete": "?0", "Upload-Length": "100"}
    return server.request("PUT", target, fields=fields)


DOORS = [tus("alice@chat.test"), deferred, partial, ietf, begun, chunks_by_jwt, chunks_by_slot]


def codes(answers: list[Answer]) -> list[tuple[int, str]]:
    return sorted((answer.status, "" if answer.status == 201 else refusal(answer)[1]) for answer in answers)


EXPECTED = [(201, "")] * MOST + [(429, "too_many_uploads")] * 7


@pytest.mark.parametrize("door", DOORS)
def test_an_owner_has_so_many_unfinished_uploads(server: Server, door: Callable[[Server], Answer]) -> None:
    """Twelve at once, over both workers; others are not concerned."""
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda _: door(server), range(12)))
    assert codes(answers) == EXPECTED
    assert tus("bob@chat.test")(server).status == 201


def test_they_are_counted_over_all_doors(server: Server) -> None:
    assert [door(server).status for door in DOORS[:MOST]] == [201] * MOST
    assert {refusal(door(server)) for door in DOORS[:MOST]} == {(429, "too_many_uploads")}


@pytest.mark.parametrize("way", ["finish", "cancel", "sweep"])
def test_one_that_ends_makes_room_for_another(server: Server, way: str) -> None:
    urls = [languages.create(server, 3) for _ in range(MOST)]
    assert tus("alice@chat.test")(server).status == 429
    if way == "finish":
        assert languages.patch(server, urls[2], 0, b"abc").status == 204
    elif way == "cancel":
        assert server.request("DELETE", urls[2], fields={**TUS, **ALICE}).status == 204
    else:
        name = urls[2].rpartition("/")[2]
        (server.storage / f".hmacfs/uploads/{name}.note").unlink()
    assert tus("alice@chat.test")(server).status == 201
    assert tus("alice@chat.test")(server).status == 429


def test_there_is_no_file_of_bytes_before_there_is_one(server: Server) -> None:
    urls = [languages.create(server, 3) for _ in range(MOST)]
    assert [languages.offset(server, url) for url in urls] == [0] * MOST
    parts = resuming.parts_of(server.storage)
    assert [path.suffix for path in parts] == [".note"] * MOST
    assert len(list((server.storage / ".hmacfs/owners").iterdir())) == 1
    assert server.request("DELETE", urls[0], fields={**TUS, **ALICE}).status == 204
    assert languages.patch(server, urls[1], 0, b"abc").status == 204
    assert [languages.offset(server, url) for url in urls[1:]] == [3, 0, 0, 0]


def test_so_many_parts_are_joined_at_most(server: Server) -> None:
    urls = " ".join(f"/files/{number:032x}" for number in range(tus_endpoint.PARTS + 1))
    fields = {**TUS, **ALICE, "Upload-Concat": f"final;{urls}"}
    assert refusal(server.request("POST", "/files/", fields=fields)) == (400, "upload_parts")


SIZE = 10_000_000


def plain(_server: Server) -> tuple[bytes, str]:
    target = serving.signed(serving.fresh(), SIZE)
    return serving.head("PUT", target, TYPE, SIZE), target


def coded(_server: Server) -> tuple[bytes, str]:
    target, token = serving.bearer(serving.fresh(), SIZE)
    fields = {"Authorization": token, **TYPE, "Transfer-Encoding": "chunked"}
    return serving.head("PUT", target, fields) + b"989680\r\n", ""


def patch(server: Server) -> tuple[bytes, str]:
    url = languages.create(server, SIZE)
    return serving.head("PATCH", url, {**TUS, **OCTETS, **ALICE, "Upload-Offset": "0"}, SIZE), ""


def appended(server: Server) -> tuple[bytes, str]:
    url = ietf(server).fields["location"]
    fields = {**PART, **ALICE, "Upload-Offset": "0", "Upload-Complete": "?1"}
    return serving.head("PATCH", url, fields, SIZE), ""


def form(_server: Server) -> tuple[bytes, str]:
    fields = {**GO, "Content-Type": "multipart/form-data; boundary=XyZ"}
    top = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    return serving.head("POST", "/upload", fields, SIZE) + top, ""


def numbered(server: Server) -> tuple[bytes, str]:
    fields = {**GO, "X-Filename": "f", "X-Total-Size": str(SIZE)}
    said = json.loads(server.request("POST", "/chunked-upload", fields=fields).body)
    fields = {**GO, **TYPE, "X-Upload-Session-ID": said["session_id"], "X-Chunk-Number": "0"}
    return serving.head("POST", "/chunked-upload", fields, said["chunk_size"]), ""


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("door", [plain, coded, patch, appended, form, numbered])
def test_a_body_has_so_long_however_steadily_it_comes(
    tmp_path: Path, program: Callable[[str], str], door: Callable[[Server], tuple[bytes, str]], *, tls: bool
) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    rest = f'{REST}[tls]\nlisten_address = "127.0.0.1:0"\ncertificate = "{crt}"\nkey = "{key}"\n'
    with serving.running(tmp_path, rest=rest) as server:
        head, again = door(server)
        with selfsigned.greet(selfsigned.port_of(server), crt) if tls else server.connect() as sock:
            began = time.monotonic()
            sock.sendall(head)
            sent, begun = 0, b""
            sock.settimeout(0.05)
            while not begun and sent < SIZE // 2:
                sock.sendall(bytes(1000))  # 20 kB a second, many times min_rate
                sent += 1000
                with contextlib.suppress(TimeoutError):
                    begun = sock.recv(65536)
            sock.settimeout(serving.PATIENCE_S)
            answer, _ = serving.take_answer(sock, begun, "PUT")
        assert refusal(answer) == (408, "body_too_slow")
        assert time.monotonic() - began >= TOTAL_S
        if again:
            told = server.request("HEAD", again)
            assert 0 < int(told.fields["upload-offset"]) <= sent
