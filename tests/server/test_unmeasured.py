"""Bodies without Content-Length: chunked where the token signs a length, empty without framing."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import languages
import pytest
import serving
import wire
from languages import ALICE, OCTETS, TUS
from wire import Wire

from hmacfs.app.unmeasured import STRANGERS_BYTES
from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

CONFIG = """
[timeouts]
linger = "2s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
[[endpoint]]
prefix = "/go/"
protocols = ["v3", "bearer", "gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""
LIMIT = 64 * MiB
PREFIXES = {
    **dict.fromkeys(("v", "v2", "token"), "/upload/"),
    "jwt": "/share/",
    **dict.fromkeys(("v3", "bearer", "gojwt"), "/go/"),
}
SIGNS_SIZE = ("v", "v2", "token", "jwt", "bearer")
SECRETLY = ("v", "v2", "token", "bearer")  # those whose size only the right one shows
TYPE = {"Content-Type": "application/octet-stream"}
CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("unmeasured")
    with serving.running(where, rest=CONFIG, server=f"max_upload_size = {LIMIT}\n") as server:
        yield server
        wire.settle(server)


def signed(dialect: str, size: int) -> tuple[str, str, dict[str, str]]:
    """Return the path of a new file, the target of its upload and the fields that go with it."""
    rel, prefix = serving.fresh(), PREFIXES[dialect]
    if dialect in {"jwt", "bearer", "gojwt"}:
        ttl_s = 3000.0
        target, token = serving.bearer(rel, size, dialect=dialect, prefix=prefix, ttl_s=ttl_s)
        return prefix + rel, target, {**TYPE, "Authorization": token}
    return prefix + rel, serving.signed(rel, size, dialect=dialect, prefix=prefix), dict(TYPE)


def send(  # noqa: PLR0913 - a request
    server: Server,
    method: str,
    target: str,
    fields: dict[str, str],
    body: bytes,
    *,
    piece: int = 0,
) -> Answer:
    """Send a body in the chunked coding, and one request more on the same connection if that is kept."""
    with Wire(server) as client:
        client.send(serving.head(method, target, {**fields, **CHUNKED}), piece)
        client.send(languages.chunked(body, 30_000), piece)
        answer = client.expect()
        if "connection" not in answer.fields:
            client.send(serving.head("GET", "/health", None))
            assert client.expect().body == b"OK"
        return serving.resolved(target, answer)


@pytest.mark.parametrize("dialect", PREFIXES)
@pytest.mark.parametrize(("size", "piece"), [(0, 0), (0, 1), (6, 0), (6, 1), (100_000, 0), (3 * MiB, 0)])
def test_a_chunked_body_is_taken(server: Server, dialect: str, size: int, piece: int) -> None:
    path, target, fields = signed(dialect, size)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    answer = send(server, "PUT", target, fields, body, piece=piece)
    assert answer.status == (200 if dialect in {"v3", "gojwt"} else 201), answer
    got = server.request("GET", path)
    assert (got.status, got.body, got.fields["content-type"]) == (200, body, TYPE["Content-Type"])


@pytest.mark.parametrize("dialect", SIGNS_SIZE)
@pytest.mark.parametrize(("size", "sent"), [(6, 5), (6, 7), (6, 0), (0, 1), (100_000, 99_999), (6, 100_000)])
def test_it_is_counted_against_the_signed_size(server: Server, dialect: str, size: int, sent: int) -> None:
    path, target, fields = signed(dialect, size)
    answer = send(server, "PUT", target, fields, bytes(sent))
    wanted = {"jwt": "size_mismatch", "bearer": "jwt_wrong"}.get(dialect, "token_wrong")
    assert json.loads(answer.body)["code"] == wanted
    assert server.request("GET", path).status == 404
    assert send(server, "PUT", target, fields, bytes(size)).status == 201


@pytest.mark.parametrize("dialect", PREFIXES)
def test_an_empty_file_needs_no_framing(server: Server, dialect: str) -> None:
    path, target, fields = signed(dialect, 0)
    with Wire(server) as client:
        client.send(serving.head("PUT", target, fields))
        answer = client.expect()
        assert answer.status == (200 if dialect in {"v3", "gojwt"} else 201), answer
        client.send(serving.head("GET", path, None))
        assert (answer := client.expect()).status == 200
        assert answer.body == b""


@pytest.mark.parametrize("dialect", ["v", "v2", "token", "jwt"])
def test_any_other_does(server: Server, dialect: str) -> None:
    _, target, fields = signed(dialect, 6)
    answer = server.request("PUT", target, fields=fields)
    assert (answer.status, json.loads(answer.body)["code"]) == (411, "length_required")


def test_what_is_no_token_is_refused_before_the_body(server: Server) -> None:
    with Wire(server) as client:
        client.send(serving.head("PUT", "/upload/a/b?v2=00", {**CHUNKED, "Expect": "100-continue"}))
        assert client.expect().status == 403


@pytest.mark.parametrize("dialect", SECRETLY)
def test_a_stranger_has_little_of_the_disk(server: Server, dialect: str) -> None:
    """Who is no stranger has no such bound: see above."""
    _, target, fields = signed(dialect, STRANGERS_BYTES)
    more = target.replace(target[-6:], "aaaaaa") if dialect != "bearer" else target
    answer = send(server, "PUT", more, fields, bytes(STRANGERS_BYTES + 1))
    assert (answer.status, json.loads(answer.body)["code"]) == (411, "length_required")


def test_all_strangers_have_it_together(server: Server) -> None:
    half = STRANGERS_BYTES // 2 + 1
    with contextlib.ExitStack() as undo:
        first, second = (undo.enter_context(Wire(server)) for _ in range(2))
        for client in (first, second):
            client.send(serving.head("PUT", "/upload/a/b?v=" + "0" * 64, CHUNKED))
            client.send(languages.chunked(bytes(half), 1 << 20)[:-5])
        answer = None
        for client in (first, second):  # whichever was later
            client.sock.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                answer = client.read()
        assert answer is not None
        assert answer.status == 411
    wire.settle(server)
    _, target, fields = signed("v", half)
    assert send(server, "PUT", target, fields, bytes(half)).status == 201


def test_a_form_of_a_bearer(server: Server) -> None:
    form = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\nhello\r\n--cut--\r\n'
    body = form % serving.fresh("f").replace("/", "-").encode()
    query, token = serving.bearer("upload", len(body), dialect="bearer", prefix="/", ttl_s=3000)
    fields = {"Content-Type": "multipart/form-data; boundary=cut", "Authorization": token}
    target = f"/upload?{query.partition('?')[2]}"
    wrong = send(server, "POST", target, fields, body + b" ")
    assert json.loads(wrong.body)["code"] == "jwt_wrong"
    answer = send(server, "POST", target, fields, body)
    assert (answer.status, json.loads(answer.body)["size"]) == (200, 5)


# The languages of resumable uploads.


def test_a_creation_of_tus_that_brings_nothing(server: Server) -> None:
    fields = {**TUS, **ALICE, "Upload-Length": "5"}
    for piece in (0, 1):
        begun = send(server, "POST", "/files/", fields, b"", piece=piece)
        assert begun.status == 201
        assert languages.offset(server, begun.fields["location"]) == 0
    answer = send(server, "POST", "/files/", fields, b"hello")
    assert (answer.status, json.loads(answer.body)["code"]) == (415, "patch_type")
    begun = send(server, "POST", "/files/", {**fields, **OCTETS}, b"hello")
    assert (begun.status, begun.fields["upload-offset"]) == (201, "5")


def test_a_joining_of_tus(server: Server) -> None:
    part = languages.create(server, 5, Upload_Concat="partial")
    assert languages.patch(server, part, 0, b"hello").status == 204
    fields = {**TUS, **ALICE, "Upload-Concat": f"final;{part}"}
    answer = send(server, "POST", "/files/", fields, b"x")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "upload_field")
    answer = send(server, "POST", "/files/", fields, b"")
    assert (answer.status, languages.file_of(server, answer)) == (201, b"hello")


@pytest.mark.parametrize("dialect", ["v", "v2", "token", "jwt"])
def test_a_range(server: Server, dialect: str) -> None:
    path, target, fields = signed(dialect, 6)
    asked = {**fields, "Content-Range": "bytes */6"}
    assert send(server, "PUT", target, asked, b"").status == 404
    first = send(server, "PUT", target, {**fields, "Content-Range": "bytes 0-1/6"}, b"ab")
    assert (first.status, first.fields["upload-offset"]) == (204, "2")
    told = send(server, "PUT", target, asked, b"")
    assert (told.status, told.fields["upload-offset"]) == (204, "2")
    assert send(server, "PUT", target, asked, b"x").status == 400
    last = {**fields, "Content-Range": "bytes 2-5/6"}
    assert send(server, "PUT", target, last, b"cdefg").status == 400
    assert server.request("GET", path).status == 404
    done = send(server, "PUT", target, {**fields, "Content-Range": "bytes 0-5/6"}, b"abcdef")
    assert done.status == 201
    assert server.request("GET", path).body == b"abcdef"


@pytest.mark.parametrize("dialect", PREFIXES)
@pytest.mark.parametrize("size", [0, 6])
def test_a_file_of_the_ietf_in_one_piece(server: Server, dialect: str, size: int) -> None:
    path, target, fields = signed(dialect, size)
    answer = send(server, "PUT", target, {**fields, "Upload-Complete": "?1"}, bytes(size))
    assert answer.status in {200, 201}
    assert (answer.fields["upload-complete"], answer.fields["upload-offset"]) == ("?1", str(size))
    assert server.request("GET", path).body == bytes(size)
