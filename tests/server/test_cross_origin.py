"""Every answer, whichever part of the server gives it, says once which pages may read it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote

import languages
import pytest
import serving
import upload_protocols
import wire
from languages import ALICE, OCTETS, PART, TUS
from wire import Wire

from hmacfs.auth import keyring, metronome
from hmacfs.model import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from serving import Answer, Server

OURS = "https://chat.example"
OTHERS = "https://evil.example"
CONFIG = """
[timeouts]
headertimeout = "1s"
linger = "1s"
[cors]
allow_origins = {origins}
"""
CONTENT = bytes(range(100)) * 10
INTEROP = {"Upload-Draft-Interop-Version": "8"}
BEGIN = {**TUS, **ALICE, "Upload-Length": "5"}
PART_5 = {**PART, "Upload-Offset": "5"}
FORM = {"Content-Type": "multipart/form-data; boundary=a"}
ONCE = ("access-control-allow-origin", "access-control-max-age", "vary", "tus-resumable", "x-request-id")
"""Fields that hold one value."""
NONE: Mapping[str, str] = MappingProxyType({})


class Asked(NamedTuple):
    """A request whose answer is looked at."""

    method: str
    target: str
    fields: Mapping[str, str] = NONE
    body: bytes = b""


Made: TypeAlias = "Callable[[Server], Asked]"


def stored(server: Server) -> str:
    """Return the path of a new file."""
    rel = serving.fresh()
    assert server.put(rel, CONTENT).status == 201
    return f"/upload/{quote(rel)}"


def plain(method: str, target: str, fields: Mapping[str, str] = NONE, body: bytes = b"") -> Made:
    return lambda _: Asked(method, target, fields, body)


def reading(fields: Mapping[str, str] = NONE, method: str = "GET", times: int = 0) -> Made:
    """Return what asks for a file, after it was asked for so many times: then it may come from memory."""

    def made(server: Server) -> Asked:
        target = stored(server)
        etag = server.request("HEAD", target).fields["etag"]
        for _ in range(times):
            assert server.request("GET", target).status == 200
        return Asked(method, target, {name: value.replace("ETAG", etag) for name, value in fields.items()})

    return made


def putting(fields: Mapping[str, str] = NONE, body: bytes = CONTENT, size: int | None = None) -> Made:
    length = len(body) if size is None else size
    return lambda _: Asked("PUT", serving.signed(serving.fresh(), length), fields, body)


def putting_over(body: bytes) -> Made:
    def made(server: Server) -> Asked:
        rel = serving.fresh()
        assert server.put(rel, CONTENT).status == 201
        return Asked("PUT", serving.signed(rel, len(body)), {}, body)

    return made


def go_put(_: Server) -> Asked:
    target, value = serving.bearer(serving.fresh(), len(CONTENT), dialect="gojwt", prefix="/go/")
    return Asked("PUT", target, {"Authorization": value}, CONTENT)


def form(fields: Mapping[str, str] = FORM, end: str = "--a--\r\n") -> Made:
    def made(_: Server) -> Asked:
        name = serving.fresh().partition("/")[0]
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        body = f"--a\r\n{disposition}\r\n\r\nhello\r\n{end}".encode()
        value = serving.bearer("upload", len(body), dialect="gojwt")[1]
        return Asked("POST", "/upload", {"Authorization": value, **fields}, body)

    return made


def deleting(*, exists: bool) -> Made:
    def made(server: Server) -> Asked:
        rel = serving.fresh()
        if exists:
            assert server.put(rel, CONTENT).status == 201
        message = metronome.message_delete(rel, Secret(upload_protocols.DELETE_SECRET.encode()))
        mac = keyring.sign(Secret(serving.SECRET.encode()), message).hex()
        return Asked("DELETE", f"/upload/{quote(rel)}?token={mac}")

    return made


def tus(method: str, fields: Mapping[str, str] = NONE, body: bytes = b"", whole: bytes = b"") -> Made:
    """Return what goes on with an upload of 5 bytes, of which `whole` are there."""

    def made(server: Server) -> Asked:
        url = languages.create(server, 5)
        assert not whole or languages.patch(server, url, 0, whole).status == 204
        return Asked(method, url, {**TUS, **ALICE, **OCTETS, **fields}, body)

    return made


def slot(method: str, fields: Mapping[str, str], body: bytes = b"", *, signed: bool = True) -> Made:
    """Return what goes on with an upload to a slot, of which 5 of 10 bytes are there."""

    def made(server: Server) -> Asked:
        target = serving.signed(serving.fresh(), 10)
        begun = {"Upload-Complete": "?0", "Upload-Length": "10"}
        assert server.request("PUT", target, fields=begun, body=b"hello").status == 201
        return Asked(method, target if signed else target.partition("?")[0], fields, body)

    return made


def chunks(*, status: bool) -> Made:
    def made(server: Server) -> Asked:
        holds = languages.go_bearer()
        begin = {**holds, "X-Total-Size": "5", "X-Filename": serving.fresh()[:16]}
        if not status:
            return Asked("POST", "/chunked-upload", begin)
        answer = server.request("POST", "/chunked-upload", fields=begin)
        session = answer.body.partition(b'"session_id": "')[2][:32].decode()
        return Asked("GET", f"/upload-status?session_id={session}", holds)

    return made


ROWS: dict[str, tuple[int, Made]] = {
    "file": (200, reading()),
    "head of a file": (200, reading(method="HEAD")),
    "range": (206, reading({"Range": "bytes=0-9"})),
    "ranges": (206, reading({"Range": "bytes=0-9,500-509"})),
    "range of nothing": (416, reading({"Range": "bytes=5000-"})),
    "precondition": (412, reading({"If-Match": '"other"'})),
    "not modified": (304, reading({"If-None-Match": "ETAG"})),
    "from memory": (200, reading(times=3)),
    "head from memory": (200, reading(method="HEAD", times=3)),
    "range from memory": (206, reading({"Range": "bytes=0-9"}, times=3)),
    "not modified from memory": (304, reading({"If-None-Match": "ETAG"}, times=3)),
    "no file": (404, plain("GET", "/upload/no/file")),
    "head of no file": (404, plain("HEAD", "/upload/no/file")),
    "no endpoint": (404, plain("GET", "/nowhere")),
    "health": (200, plain("GET", "/health")),
    "head of health": (200, plain("HEAD", "/health")),
    "download": (200, lambda server: Asked("GET", f"/download{stored(server)}")),
    "no download": (404, plain("GET", "/download/upload/no/file")),
    "put": (201, putting()),
    "put, asked before": (201, putting({"Expect": "100-continue"})),
    "put, small": (201, putting(body=b"x")),
    "put, empty": (201, putting(body=b"")),
    "put again": (201, putting_over(CONTENT)),
    "put over another": (409, putting_over(CONTENT[::-1])),
    "put without a token": (403, plain("PUT", "/upload/a/b", body=b"x")),
    "put of another size": (403, putting(size=5)),
    "put, encoded": (415, putting({"Content-Encoding": "gzip"})),
    "put, too large": (413, putting({"Content-Length": "100000000"}, b"", 100_000_000)),
    "put of another digest": (400, putting({"Repr-Digest": f"sha-256=:{'A' * 43}=:"})),
    "put to no endpoint": (404, plain("PUT", "/nowhere", body=b"x")),
    "put by the Go server's token": (200, go_put),
    "form": (200, form()),
    "form, malformed": (400, form(end="")),
    "form of another type": (415, form({"Content-Type": "text/plain"})),
    "form without a token": (401, plain("POST", "/upload", FORM)),
    "post where none is taken": (405, plain("POST", "/upload/a/b", body=b"x")),
    "patch where none is taken": (405, plain("PATCH", "/upload/a/b", body=b"x")),
    "delete": (204, deleting(exists=True)),
    "delete of nothing": (404, deleting(exists=False)),
    "delete where none is taken": (405, plain("DELETE", "/go/a")),
    "tus, begun": (201, plain("POST", "/files/", BEGIN)),
    "tus, begun and ended": (201, plain("POST", "/files/", {**BEGIN, **OCTETS}, b"hello")),
    "tus, appended": (204, tus("PATCH", {"Upload-Offset": "0"}, b"he")),
    "tus, ended": (204, tus("PATCH", {"Upload-Offset": "0"}, b"hello")),
    "tus, elsewhere": (409, tus("PATCH", {"Upload-Offset": "2"}, b"he")),
    "tus, wrong sum": (
        460,
        tus("PATCH", {"Upload-Offset": "0", "Upload-Checksum": f"sha1 {'A' * 27}="}, b"hello"),
    ),
    "tus, told": (200, tus("HEAD")),
    "tus, cancelled": (204, tus("DELETE")),
    "tus, another version": (412, tus("HEAD", {"Tus-Resumable": "0.2.2"})),
    "tus, without a token": (401, plain("POST", "/files/", {**TUS, "Upload-Length": "5"})),
    "tus, too large": (413, plain("POST", "/files/", {**BEGIN, "Upload-Length": "100000000"})),
    "tus, where the file is": (307, tus("GET", whole=b"hello")),
    "tus, whole": (200, tus("HEAD", whole=b"hello")),
    "tus, unknown": (404, plain("HEAD", f"/files/{'0' * 32}", {**TUS, **ALICE})),
    "ietf at an endpoint": (
        201,
        plain("POST", "/files/", {**ALICE, **INTEROP, "Upload-Complete": "?0"}, b"x"),
    ),
    "ietf, begun": (201, putting({**INTEROP, "Upload-Complete": "?1"})),
    "ietf, appended": (204, slot("PATCH", {**PART_5, "Upload-Complete": "?0"}, b"wo")),
    "ietf, ended": (201, slot("PATCH", {**PART_5, "Upload-Complete": "?1"}, b"world")),
    "ietf, elsewhere": (409, slot("PATCH", {**PART, "Upload-Offset": "2", "Upload-Complete": "?0"}, b"wo")),
    "ietf, told": (204, slot("HEAD", INTEROP)),
    "ietf, told in no language": (204, slot("HEAD", NONE)),
    "ietf, cancelled": (204, slot("DELETE", INTEROP)),
    "ietf, of a file": (204, reading(INTEROP, "HEAD")),
    "ietf, of a download": (204, lambda server: Asked("HEAD", f"/download{stored(server)}", INTEROP)),
    "ietf, without a token": (404, slot("HEAD", INTEROP, signed=False)),
    "range put, begun": (204, putting({"Content-Range": "bytes 0-4/10"}, b"hello", 10)),
    "range put, ended": (201, slot("PUT", {"Content-Range": "bytes 5-9/10"}, b"world")),
    "range put, told": (204, slot("PUT", {"Content-Range": "bytes */10"})),
    "range put, malformed": (400, slot("PUT", {"Content-Range": "bytes 5-4/10"}, b"world")),
    "chunks, begun": (201, chunks(status=False)),
    "chunks, told": (200, chunks(status=True)),
    "chunks, without a token": (
        401,
        plain("POST", "/chunked-upload", {"X-Total-Size": "5", "X-Filename": "a"}),
    ),
    "chunks, malformed": (400, plain("POST", "/chunked-upload")),
    "chunks, method": (405, plain("DELETE", "/chunked-upload")),
}
PREFLIGHTS = {
    "a slot": "/upload/a/b",
    "a tus endpoint": "/files/",
    "a tus upload": f"/files/{'0' * 32}",
    "forms": "/upload",
    "chunks": "/chunked-upload",
    "health": "/health",
    "no endpoint": "/nowhere",
    "the server": "*",
}
BROKEN = {
    "line": (400, b"GET\r\n\r\n"),
    "version": (505, b"GET / HTTP/3.0\r\nHost: h\r\n\r\n"),
    "host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "large": (431, b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000),
    "method": (501, b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n"),
    "late": (408, b"GET / HTTP/1.1\r\nHost: h\r\n"),
}
"""Requests without a head, so that no Origin is known."""


@pytest.fixture(scope="module", params=[["*"], [OURS], []], ids=["all", "ours", "none"])
def allowed(request: pytest.FixtureRequest) -> list[str]:
    origins: list[str] = request.param
    return origins


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, allowed: list[str]) -> Iterator[Server]:
    rest = CONFIG.format(origins=str(allowed).replace("'", '"')) + upload_protocols.ENDPOINTS
    where = tmp_path_factory.mktemp("origins")
    with serving.running(where, rest=rest, server="max_upload_size = 1000000\n") as running:
        yield running
        wire.settle(running)


def answer_to(server: Server, asked: Asked, origin: str | None) -> Answer:
    """Return the final answer to a page of `origin`; what comes before that allows nothing."""
    fields = {**asked.fields, **({"Origin": origin} if origin else {})}
    with Wire(server) as client:
        client.send(serving.head(asked.method, asked.target, fields, len(asked.body)) + asked.body)
        answer = client.expect(asked.method)
        while answer.status < 200:
            assert not any(name.startswith("access-control") for name in answer.fields)
            answer = client.expect(asked.method)
        return answer


def check(answer: Answer, origin: str | None, allowed: list[str]) -> None:
    """Assert that the answer allows `origin` what it may have, and says each thing once."""
    fields = answer.fields
    for name in ONCE:
        assert "," not in fields.get(name, ""), (name, fields[name])
    granted = "*" if "*" in allowed else origin if origin in allowed else None
    if answer.status == 304 and origin is None:
        granted = None  # nobody looks at it there
    assert fields.get("access-control-allow-origin") == granted
    assert fields.get("vary") == ("Origin" if allowed and "*" not in allowed else None)
    exposed = fields.get("access-control-expose-headers", "").lower().split(", ")
    assert len(set(exposed)) == len(exposed)
    if "allow" not in fields or answer.status == 405:
        assert ("x-request-id" in exposed) is (granted is not None)


@pytest.mark.parametrize("origin", [OURS, OTHERS, None])
@pytest.mark.parametrize("row", ROWS)
def test_an_answer_says_which_pages_may_read_it(
    server: Server, allowed: list[str], row: str, origin: str | None
) -> None:
    status, made = ROWS[row]
    asked = made(server)
    answer = answer_to(server, asked, origin)
    assert answer.status == status, answer
    check(answer, origin, allowed)
    if "Tus-Resumable" in asked.fields and asked.method != "GET":
        assert answer.fields["tus-resumable"] == "1.0.0"
        exposed = answer.fields.get("access-control-expose-headers", "")
        assert not exposed or origin is None or "Upload-Offset" in exposed


@pytest.mark.parametrize("origin", [OURS, OTHERS, None])
@pytest.mark.parametrize("row", PREFLIGHTS)
def test_a_preflight_is_answered_everywhere(
    server: Server, allowed: list[str], row: str, origin: str | None
) -> None:
    asked = Asked("OPTIONS", PREFLIGHTS[row], {"Access-Control-Request-Method": "PUT", **TUS})
    answer = answer_to(server, asked, origin)
    assert answer.status == 200
    check(answer, origin, allowed)
    granted = "access-control-allow-origin" in answer.fields
    for name in ("methods", "headers"):
        assert (f"access-control-allow-{name}" in answer.fields) is granted
    assert answer.fields["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize("row", BROKEN)
def test_what_has_no_head_has_no_origin(server: Server, allowed: list[str], row: str) -> None:
    status, request = BROKEN[row]
    with Wire(server) as client:
        client.send(request)
        answer = client.expect()
    assert answer.status == status
    check(answer, None, allowed)
