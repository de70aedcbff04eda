"""An upload sent once more, since its 201 was lost, is a success again; any other stays 409."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import serving
import wire
from wire import Wire

from hmacfs.auth import jose
from hmacfs.model import MiB, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

CONFIG = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
[[endpoint]]
prefix = "/go/"
protocols = ["v3", "bearer", "gojwt"]
"""
PREFIXES = {
    **dict.fromkeys(("v", "v2", "token"), "/upload/"),
    "jwt": "/share/",
    **dict.fromkeys(("v3", "bearer", "gojwt"), "/go/"),
}
TYPE = {"Content-Type": "application/octet-stream"}
WAYS = {
    "plain": {},
    "chunked": {"Transfer-Encoding": "chunked"},
    "range": {"Content-Range": "bytes 0-{last}/{size}"},
    "range-chunked": {"Content-Range": "bytes 0-{last}/{size}", "Transfer-Encoding": "chunked"},
    "ietf": {"Upload-Complete": "?1"},
    "ietf-chunked": {"Upload-Complete": "?1", "Transfer-Encoding": "chunked"},
}
SUCCESS = {200, 201}


@pytest.fixture(scope="module", params=["full", "relaxed"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("repeats")
    durability = f'durability = "{request.param}"\nmax_upload_size = "32MB"\n'
    with serving.running(where, rest=CONFIG, server=durability) as server:
        yield server
        wire.settle(server)


def signed(
    dialect: str, rel: str, size: int, content_type: str = TYPE["Content-Type"]
) -> tuple[str, dict[str, str]]:
    prefix, typed = PREFIXES[dialect], {"Content-Type": content_type}
    if dialect in {"jwt", "bearer", "gojwt"}:
        target, token = serving.bearer(rel, size, content_type, dialect=dialect, prefix=prefix, ttl_s=3000.0)
        return target, {**typed, "Authorization": token}
    return serving.signed(rel, size, content_type, dialect=dialect, prefix=prefix), typed


def send(server: Server, target: str, fields: dict[str, str], body: bytes, way: str = "plain") -> Answer:
    named = {
        name: value.format(size=len(body), last=len(body) - 1)
        for name, value in {**fields, **WAYS[way]}.items()
    }
    chunked = "Transfer-Encoding" in named
    with Wire(server) as client:
        client.send(serving.head("PUT", target, named, None if chunked else len(body)))
        client.send(languages.chunked(body, 100_000) if chunked else body)
        answer = client.expect()
        if answer.status in SUCCESS:
            assert "connection" not in answer.fields
    return answer


def stands(server: Server, dialect: str, rel: str) -> os.stat_result:
    folder = PREFIXES[dialect].strip("/")
    return (server.storage / folder / rel).stat()


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


@pytest.mark.parametrize("dialect", PREFIXES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 5, 2 * MiB])
def test_the_same_once_more(server: Server, dialect: str, way: str, size: int) -> None:
    rel, body = serving.fresh(), os.urandom(size)
    target, fields = signed(dialect, rel, size)
    first = send(server, target, fields, body)
    assert first.status in SUCCESS
    before = stands(server, dialect, rel)
    for _ in range(2):
        again = send(server, target, fields, body, way)
        assert (again.status, again.fields.get("content-type")) == (
            first.status,
            first.fields.get("content-type"),
        )
    after = stands(server, dialect, rel)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    other = bytes([body[0] ^ 1]) + body[1:]
    assert code(send(server, target, fields, other, way)) == (409, "exists")
    got = server.request("GET", f"{PREFIXES[dialect]}{rel}")
    assert got.body == body


@pytest.mark.parametrize("dialect", ["v", "v2"])
def test_an_empty_one(server: Server, dialect: str) -> None:
    rel = serving.fresh()
    target, fields = signed(dialect, rel, 0)
    assert [send(server, target, fields, b"", way).status for way in ("plain", "plain", "chunked")] == [
        201
    ] * 3


def test_an_answer_that_was_lost(server: Server) -> None:
    """The client is gone before it can read; its file may still be on its way to its name."""
    rel, body = serving.fresh(), os.urandom(MiB)
    target, fields = signed("v2", rel, len(body))
    with Wire(server) as client:
        client.send(serving.head("PUT", target, fields, len(body)) + body)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer = send(server, target, fields, body)
    assert answer.status == 201
    assert send(server, target, fields, body).status == 201


def test_two_at_once(server: Server) -> None:
    """The newer takes the place of the older, which is told so; and may then be sent once more."""
    rel, body = serving.fresh(), os.urandom(MiB)
    target, fields = signed("v", rel, len(body))
    with Wire(server) as one, Wire(server) as other:
        begun = serving.head("PUT", target, fields, len(body)) + body[:-1]
        one.send(begun)
        resuming.wait_stored(server.storage, len(body) - 1, tuple(server.workers))
        other.send(begun)
        assert languages.refusal(one.expect()) == (409, "upload_taken_over")
        other.send(body[-1:])
        assert other.expect().status == 201
    assert send(server, target, fields, body).status == 201


def test_another_token_stays_refused(server: Server) -> None:
    rel = serving.fresh()
    target, fields = signed("v2", rel, 5, "text/plain")
    assert send(server, target, fields, b"hello").status == 201
    assert send(server, *signed("v2", rel, 5, "image/png"), b"hello").status == 409
    assert send(server, *signed("v2", rel, 6, "text/plain"), b"hello!").status == 409
    key = Secret(serving.SECRET.encode())
    for claims in ({"sub": "mallory@chat.test"}, {"expires": time.time() + 9999}):
        rel = serving.fresh()
        mine, token = serving.bearer(rel, 5, prefix="/share/")
        assert send(server, mine, {**TYPE, "Authorization": token}, b"hello").status == 201
        theirs = jose.sign(
            {
                "exp": int(time.time()) + 300,
                "slot": rel.partition("/")[0],
                "filename": rel.partition("/")[2],
                "filesize": 5,
                "filetype": TYPE["Content-Type"],
                **claims,
            },
            key,
        )
        assert send(server, mine, {**TYPE, "Authorization": f"Bearer {theirs}"}, b"hello").status == 409


def test_a_refusal_comes_before_the_body_where_it_can(server: Server) -> None:
    rel = serving.fresh()
    target, fields = signed("v2", rel, 5)
    assert send(server, target, fields, b"hello").status == 201
    for more, status in (({}, 100), ({"Content-Type": "a/b"}, 403)):
        with Wire(server) as client:
            client.send(serving.head("PUT", target, {**fields, "Expect": "100-continue", **more}, 5))
            assert client.expect().status == status


def test_a_form(server: Server) -> None:
    form = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\nhello\r\n--cut--\r\n'
    name = serving.fresh("f").replace("/", "-").encode()
    fields = {"Content-Type": "multipart/form-data; boundary=cut", **languages.go_bearer()}
    for body, status in ((b"hello", 200), (b"hello", 200), (b"other", 409)):
        answer = server.request("POST", "/upload", fields=fields, body=(form % name).replace(b"hello", body))
        assert answer.status == status
