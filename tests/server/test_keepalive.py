"""One connection, many requests: order, persistence, HEAD, OPTIONS, 100 Continue and the ways to end it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest
import serving
import wire
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

CONTENT = bytes(range(256)) * 8
FILE = "kept/picture.png"
TARGET = f"/upload/{FILE}"
TiB = 1 << 40
SIZES = 'max_upload_size = "100TB"\n'
JWT = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/share/"
directory = "share"
protocols = ["jwt"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("kept"), server=SIZES, rest=JWT) as server:
        assert server.put(FILE, CONTENT, "image/png").status == 201
        yield server
        wire.settle(server)


def request(method: str, target: str, fields: str = "", version: str = "1.1") -> bytes:
    return f"{method} {target} HTTP/{version}\r\nHost: a\r\n{fields}\r\n".encode()


def upload(size: int, fields: str = "", version: str = "1.1", rel: str = "") -> bytes:
    """Return the head of a signed upload."""
    target = serving.signed(rel or serving.fresh(), size, "a/b")
    return request("PUT", target, f"Content-Type: a/b\r\nContent-Length: {size}\r\n{fields}", version)


def test_a_connection_is_kept(server: Server) -> None:
    with Wire(server) as client:
        for _ in range(200):
            client.send(request("GET", TARGET))
            answer = client.expect()
            assert (answer.status, answer.body) == (200, CONTENT)
            assert "connection" not in answer.fields


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n", "Connection: foo\r\n"])
def test_an_old_client_gets_one_answer(server: Server, fields: str) -> None:
    with Wire(server) as client:
        client.send(request("GET", TARGET, fields, "1.0") * 3)
        answer = client.expect()
        assert (answer.status, answer.body, answer.fields["connection"]) == (200, CONTENT, "close")
        assert client.rest() == b""


def test_an_old_client_may_keep_its_connection(server: Server) -> None:
    with Wire(server) as client:
        for _ in range(5):
            client.send(request("GET", TARGET, "Connection: keep-alive\r\n", "1.0"))
            answer = client.expect()
            assert (answer.body, answer.fields["connection"]) == (CONTENT, "keep-alive")
        client.send(request("GET", TARGET, "", "1.0"))
        assert client.expect().fields["connection"] == "close"
        assert client.rest() == b""


UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n"


@pytest.mark.parametrize(
    "fields", ["Connection: close\r\n", "Connection: Upgrade, close\r\nUpgrade: h2c\r\n"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_last_request_is_the_last(server: Server, method: str, fields: str) -> None:
    with Wire(server) as client:
        client.send(request(method, TARGET, fields) + request("GET", TARGET) + b"\x16\x03garbage")
        answer = client.expect(method)
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert client.rest() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("piece", [0, 1])
def test_an_offer_to_upgrade_is_ignored(server: Server, framing: str, piece: int) -> None:
    """RFC 9110 7.8: what the JDK's HttpClient and `curl --http2` offer on each request, bodies too."""
    body = b"hello" if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n"
    with Wire(server) as client:
        for _ in range(3):
            rel = serving.fresh()
            target, token = serving.bearer(rel, 5, prefix="/share/")
            fields = f"{UPGRADE}{framing}Authorization: {token}\r\n"
            client.send(request("PUT", target, fields) + body, piece)
            answer = client.expect()
            assert (answer.status, answer.fields.get("connection")) == (201, None)
            client.send(request("GET", f"/share/{rel}", UPGRADE), piece)
            answer = client.expect()
            assert (answer.body, answer.fields.get("connection")) == (b"hello", None)


MIX = ("get", "head", "missing", "put", "range", "options", "forbidden", "unmodified")


def write(kind: str, etag: str) -> tuple[bytes, str, int, bytes | None]:
    """Return a request, its method, the status due and the body due (None: whichever)."""
    return {
        "get": (request("GET", TARGET), "GET", 200, CONTENT),
        "head": (request("HEAD", TARGET), "HEAD", 200, b""),
        "missing": (request("GET", "/upload/none/none"), "GET", 404, None),
        "put": (upload(5) + b"hello", "PUT", 201, b""),
        "range": (request("GET", TARGET, "Range: bytes=10-19\r\n"), "GET", 206, CONTENT[10:20]),
        "options": (request("OPTIONS", TARGET), "OPTIONS", 200, b""),
        "forbidden": (request("PUT", "/upload/a/b?v2=00", "Content-Length: 0\r\n"), "PUT", 403, None),
        "unmodified": (request("GET", TARGET, f"If-None-Match: {etag}\r\n"), "GET", 304, b""),
    }[kind]


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("count", [1, 2, 16, 17, 33, 1000])
def test_pipelined_requests_are_answered_in_order(server: Server, count: int, half_close: bool) -> None:  # noqa: FBT001 - a parameter
    etag = server.get(FILE).fields["etag"]
    rows = [write(kind, etag) for kind in itertools.islice(itertools.cycle(MIX), count)]
    with Wire(server) as client:

        def send() -> None:
            client.send(b"".join(row[0] for row in rows))
            if half_close:
                client.finish()

        sender = threading.Thread(target=send)
        sender.start()
        for _, method, status, body in rows:
            answer = client.expect(method)
            assert answer.status == status
            assert body is None or answer.body == body
        sender.join()
        if half_close:
            assert client.rest() == b""
        else:
            client.send(request("GET", TARGET))
            assert client.expect().body == CONTENT


def test_a_file_nobody_asked_for_yet_and_a_half_closed_client(server: Server) -> None:
    """The first answer waits for the index while the end of the requests is seen already."""
    paths = [server.storage / "upload" / "adopted" / f"{number}.txt" for number in range(20)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.name.encode())
    with Wire(server) as client:
        client.send(b"".join(request("GET", f"/upload/adopted/{path.name}") for path in paths))
        client.finish()
        assert [client.expect().body for _ in paths] == [path.name.encode() for path in paths]
        assert client.rest() == b""


def test_a_flood_on_one_connection_leaves_others_their_turn(server: Server) -> None:
    many = 20_000
    done = threading.Event()
    with Wire(server) as flood, Wire(server) as other:

        def read() -> None:
            for _ in range(many):
                assert flood.expect().status == 404
            done.set()

        flood.send(request("GET", "/none"))
        assert flood.expect().status == 404
        reader = threading.Thread(target=read)
        reader.start()
        flooding = threading.Thread(target=flood.send, args=(request("GET", "/none") * many,))
        flooding.start()
        served = 0
        while not done.is_set() and reader.is_alive():
            other.send(request("GET", TARGET))
            assert other.expect().status == 200
            served += 1
        flooding.join()
        reader.join()
        assert done.is_set()
        assert served > 10


SAME = [
    pytest.param(TARGET, "", id="file"),
    pytest.param(TARGET, 'If-None-Match: "x"\r\n', id="condition-holds"),
    pytest.param(TARGET, "If-None-Match: *\r\n", id="unmodified"),
    pytest.param(TARGET, 'If-Match: "x"\r\n', id="precondition-failed"),
    pytest.param("/upload/none/none", "", id="missing"),
    pytest.param("/upload/none/none", "Accept: text/plain\r\n", id="missing-text"),
    pytest.param("/upload/%2e%2e/x", "", id="bad-path"),
    pytest.param(f"/download{TARGET}", "", id="download"),
    pytest.param("/health", "", id="health"),
    pytest.param("/", "", id="root"),
]


@pytest.mark.parametrize(("target", "fields"), SAME)
def test_head_is_get_without_its_body(server: Server, target: str, fields: str) -> None:
    heads: list[Answer] = []
    for method in ("GET", "HEAD"):
        with Wire(server) as client:
            client.send(request(method, target, fields + "Connection: close\r\n"))
            heads.append(client.expect(method))
            assert client.rest() == b""
    got, head = heads
    for answer in heads:
        del answer.fields["x-request-id"]
        del answer.fields["date"]
    assert (head.status, head.fields) == (got.status, got.fields)
    assert got.status == 304 or len(got.body) == int(head.fields["content-length"])


def test_range_is_for_get_alone(server: Server) -> None:
    """RFC 9110 14.2."""
    answer = server.request("HEAD", TARGET, fields={"Range": "bytes=0-1"})
    assert (answer.status, answer.fields["content-length"]) == (200, str(len(CONTENT)))
    assert "content-range" not in answer.fields


@pytest.mark.parametrize("target", [TARGET, "*", "/upload/none/none", "/upload", "/"])
def test_a_preflight_is_answered(server: Server, target: str) -> None:
    fields = {
        "Origin": "https://chat.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type, x-special",
    }
    answer = server.request("OPTIONS", target, fields=fields)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.fields["access-control-allow-origin"] == "*"
    assert "PUT" in answer.fields["access-control-allow-methods"]
    allowed = answer.fields["access-control-allow-headers"].lower()
    assert {"content-type", "authorization", "x-special"} <= set(allowed.split(", "))
    assert answer.fields["access-control-max-age"] == "86400"
    assert "PUT" in answer.fields["allow"]


EXPECT = "Expect: 100-continue\r\n"


def test_continue_comes_once_and_the_body_after_it(server: Server) -> None:
    with Wire(server) as client:
        for _ in range(3):
            client.send(upload(10, EXPECT))
            interim = client.expect()
            assert (interim.status, interim.fields) == (100, {})
            assert client.silent()
            client.send(b"01234")
            client.send(b"56789")
            assert client.expect().status == 201


def test_continue_for_a_chunked_upload(server: Server) -> None:
    target, token = serving.bearer("chunky/a b.txt", 5, "text/plain", dialect="jwt", prefix="/share/")
    with Wire(server) as client:
        client.send(
            request("PUT", target, f"Authorization: {token}\r\nTransfer-Encoding: chunked\r\n{EXPECT}")
        )
        assert client.expect().status == 100
        client.send(b"5\r\nhello\r\n0\r\n\r\n")
        assert client.expect().status == 201


def test_nobody_who_sends_at_once_is_told_to_continue(server: Server) -> None:
    with Wire(server) as client:
        client.send(upload(5, EXPECT) + b"hello")
        assert client.expect().status == 201
        assert client.silent()


def test_an_old_client_is_not_told_to_continue(server: Server) -> None:
    """RFC 9110 10.1.1."""
    with Wire(server) as client:
        client.send(upload(5, EXPECT, "1.0"))
        assert client.silent()
        client.send(b"hello")
        assert client.expect().status == 201


REFUSED = {
    "wrong token": (request("PUT", "/upload/a/b?v2=00", f"Content-Length: 5\r\n{EXPECT}"), 403),
    "no token": (request("PUT", "/upload/a/b", f"Content-Length: 5\r\n{EXPECT}"), 403),
    "chunked": (request("PUT", "/upload/a/b?v2=00", f"Transfer-Encoding: chunked\r\n{EXPECT}"), 403),
    "exists": (upload(5, EXPECT, rel=FILE), 409),
    "too large": (upload(200 * TiB, EXPECT), 413),
    "no space": (upload(90 * TiB, EXPECT), 507),
    "part": (upload(5, f"Content-Range: bytes 0-4/*\r\n{EXPECT}"), 400),
    "encoded": (upload(5, f"Content-Encoding: gzip\r\n{EXPECT}"), 415),
    "no such place": (request("PUT", "/none", f"Content-Length: 5\r\n{EXPECT}"), 404),
    "get": (request("GET", TARGET, f"Content-Length: 5\r\n{EXPECT}"), 200),
    "post": (request("POST", TARGET, f"Content-Length: 5\r\n{EXPECT}"), 405),
    "delete": (request("DELETE", TARGET, f"Content-Length: 5\r\n{EXPECT}"), 405),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_comes_instead_of_continue(server: Server, name: str) -> None:
    head, status = REFUSED[name]
    with Wire(server) as client:
        client.send(head)
        answer = client.expect()
        assert (answer.status, answer.fields["connection"]) == (status, "close")
        client.finish()
        assert client.rest() == b""


def test_a_refusal_without_a_body_to_come_keeps_the_connection(server: Server) -> None:
    with Wire(server) as client:
        for _ in range(3):
            client.send(request("PUT", "/upload/a/b?v2=00", "Content-Length: 0\r\n"))
            answer = client.expect()
            assert answer.status == 403
            assert "connection" not in answer.fields
