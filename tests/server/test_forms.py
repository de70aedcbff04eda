"""POST /upload, the Go server's form: every way the body may come, and what is refused."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import serving
import wire
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

BOUNDARY = "XyZ"
DOORS = """
[[endpoint]]
prefix = "/files/"
protocols = ["gojwt", "bearer"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("forms")
    with serving.running(where, rest=DOORS, server='max_upload_size = "64KB"\n') as server:
        yield server
        wire.settle(server)


def form(name: str, content: bytes) -> bytes:
    """Write a form as curl does."""
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return top.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def head(fields: str, *, media: str = f"multipart/form-data; boundary={BOUNDARY}") -> bytes:
    """Write the head of an authorised POST."""
    _, token = serving.bearer("any/name", 0, dialect="gojwt")
    top = f"POST /upload HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n"
    return f"{top}Content-Type: {media}\r\n{fields}\r\n".encode()


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def stored(server: Server, answer: Answer, name: str, content: bytes) -> None:
    """Check the Go server's answer and that the file is there, at both of its addresses."""
    told = json.loads(answer.body)
    assert (answer.status, told["success"], told["filename"], told["size"]) == (200, True, name, len(content))
    for target in (f"/files/{name}", f"/download/files/{name}"):
        assert server.request("GET", target).body == content


@pytest.mark.parametrize("piece", [0, 1, 100])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_form_is_stored_however_it_comes(server: Server, framing: str, piece: int) -> None:
    name, content = f"{serving.fresh('x')}.bin".replace("/", "-"), bytes(range(256))
    body = form(name, content)
    fields = f"Content-Length: {len(body)}\r\n" if framing == "length" else "Transfer-Encoding: chunked\r\n"
    with Wire(server) as client:
        client.send(head(fields) + (body if framing == "length" else chunked(body, 7)), piece)
        stored(server, client.expect(), name, content)
        client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.expect().body == b"OK"


@pytest.mark.parametrize("size", [0, 65536])
def test_a_client_that_waits_is_told_to_continue(server: Server, size: int) -> None:
    name, content = serving.fresh("x").replace("/", "-"), b"c" * size
    body = form(name, content)
    with Wire(server) as client:
        client.send(head(f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n"))
        assert client.expect().status == 100
        client.send(body)
        stored(server, client.expect(), name, content)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form("a", b"x" * 65537), 413, "size_mismatch"),
        (form("a", b"x" * 65536 * 3), 413, "too_large"),
        (form("a", b"x")[:-8], 400, "form_malformed"),
        (form("", b"x"), 400, "form_malformed"),
        (form("..", b"x"), 400, "bad_path"),
        (form("a/", b"x"), 400, "form_malformed"),
        (form("a%0D%0Ab", b"x"), 400, "bad_path"),
        (form("n" * 5000, b"x"), 400, "name_too_long"),
        (b"nonsense", 400, "form_malformed"),
        (b"", 400, "form_malformed"),
    ],
)
def test_a_bad_form_leaves_nothing(server: Server, body: bytes, status: int, code: str) -> None:
    before = server.files()
    with Wire(server) as client:
        client.send(head(f"Content-Length: {len(body)}\r\n") + body)
        answer = client.expect()
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
    assert server.files() == before


@pytest.mark.parametrize("media", ["text/plain", "multipart/form-data", "multipart/mixed; boundary=x", ""])
def test_another_type_is_refused(server: Server, media: str) -> None:
    with Wire(server) as client:
        client.send(head("Content-Length: 0\r\n", media=media))
        assert client.expect().status == 415


def test_a_name_is_not_replaced(server: Server) -> None:
    with Wire(server) as client:
        for content, status in ((b"first", 200), (b"second", 409)):
            body = form("taken", content)
            client.send(head(f"Content-Length: {len(body)}\r\n") + body)
            assert client.expect().status == status
    assert server.request("GET", "/files/taken").body == b"first"


def test_without_a_token_nothing_is_read(server: Server) -> None:
    with Wire(server) as client:
        plain = re.sub(rb"Authorization: [^\r]*\r\n", b"", head("Content-Length: 99\r\n"))
        client.send(plain)
        assert client.expect().status == 401
