"""Valid requests, damaged in every way hypothesis thinks of, at a live server.

Nothing may come of them but refusals and what was granted: no fault of the server's own, no answer too
many, no connection that is left hanging, no file that no token permits.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final

import pytest
import serving
import wire
from corpus import reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Answer
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Server

FULL: Final = os.environ.get("HMACFS_FULL") == "1"
EXAMPLES: Final = 100_000 if FULL else 6_000
FILE: Final = "mutants/f.txt"
CONTENT: Final = b"what the canary gets " * 20
CANARY: Final = f"GET /upload/{FILE} HTTP/1.1\r\nHost: canary\r\n\r\n".encode()
FRAMING: Final = frozenset({400, 408, 414, 417, 431, 501, 505})
FINE: Final = frozenset({501, 505, 507})
CONFIG: Final = """
[timeouts]
linger = "1s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/go/"
protocols = ["bearer", "gojwt"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
"""

numbers = itertools.count()
granted: dict[str, int] = {}


def grant(directory: str, size: int) -> str:
    """Return a new place, noting that a file of this size may appear there."""
    rel = f"{next(numbers):08d}/granted name.bin"
    granted[f"{directory}/{rel}"] = size
    return rel


def plain(method: str, target: str, fields: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: files.example\r\n{fields}\r\n".encode()


def put(dialect: str) -> bytes:
    body = b"the body of an upload"
    rel = grant("upload", len(body))
    target = serving.signed(rel, len(body), "text/plain", dialect=dialect)
    return plain("PUT", target, f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n") + body


def share(framing: str, body: bytes) -> bytes:
    rel = grant("share", 12)
    target, token = serving.bearer(rel, 12, "text/plain", prefix="/share/")
    return plain("PUT", target, f"Authorization: {token}\r\n{framing}") + body


def bearer() -> bytes:
    rel = grant("go", 5)
    target, token = serving.bearer(rel, 5, dialect="bearer", prefix="/go/")
    return plain("PUT", target, f"Authorization: {token}\r\nContent-Length: 5\r\n") + b"hello"


def form() -> bytes:
    name = f"form-{next(numbers):08d}.bin"
    granted[f"go/{name}"] = 7
    _, token = serving.bearer("x", 0, dialect="gojwt")
    body = (
        '--cut\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\ncontent\r\n--cut--\r\n"
    )
    fields = f"Authorization: {token}\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
    return plain("POST", "/upload", f"{fields}Content-Length: {len(body)}\r\n") + body.encode()


GET: Final = plain("GET", f"/upload/{FILE}")
SEEDS: Final[tuple[Callable[[], bytes], ...]] = (
    lambda: GET,
    lambda: plain("HEAD", f"/upload/{FILE}", "Accept: text/plain, */*;q=0.1\r\n"),
    lambda: plain("GET", f"/upload/{FILE}?a=%20b", 'Range: bytes=1-5, 7-9, -3\r\nIf-Range: "x"\r\n'),
    lambda: plain("GET", f"http://files.example:80/upload/{FILE}", 'If-None-Match: W/"a", "b"\r\n'),
    lambda: plain("GET", f"/download/upload/{FILE}", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
    lambda: plain("OPTIONS", "*", "Origin: https://a.example\r\nAccess-Control-Request-Headers: x-y\r\n"),
    lambda: plain("DELETE", f"/upload/{FILE}?token=00"),
    lambda: plain("GET", "/health", "Connection: keep-alive, close\r\n"),
    lambda: GET + plain("HEAD", f"/upload/{FILE}") + put("v2") + GET,
    lambda: put("v2"),
    lambda: put("v"),
    lambda: put("token") + put("v2"),
    bearer,
    lambda: share("Content-Length: 12\r\nExpect: 100-continue\r\n", b"twelve bytes"),
    lambda: share("Transfer-Encoding: chunked\r\n", b"6;a=b\r\ntwelve\r\n06\r\n bytes\r\n0\r\nX: y\r\n\r\n"),
    lambda: share("Transfer-Encoding: chunked\r\n", b"c\r\ntwelve bytes\r\n0\r\n\r\n") + GET,
    form,
)  # fmt: skip

WORDS: Final = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff", b"\xc3\xa9", b"%", b"%2e%2e/"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"-1", b"00000000000000000000", b"1"),
    *(b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n"),
    *(b"Host: evil\r\n", b"Authorization: Bearer x\r\n", b"Content-Range: bytes 0-1/2\r\n", b"HTTP/1.0"),
    *(b"--cut\r\n", b"--cut--", b'filename="', b"Content-Encoding: gzip\r\n", b"?v2=", b"&", b"/"),
    *(b"GET ", b"%00", b"X" * 300),
)  # fmt: skip

place = st.floats(0, 1, exclude_max=True)
reach = st.one_of(st.integers(1, 4), st.integers(1, 200))
change = st.one_of(
    st.tuples(st.just("flip"), place, st.integers(1, 255)),
    st.tuples(st.just("drop"), place, reach),
    st.tuples(st.just("twice"), place, reach),
    st.tuples(st.just("insert"), place, st.sampled_from(range(len(WORDS)))),
    st.tuples(st.just("cut"), place, reach),
    st.tuples(st.just("splice"), place, st.sampled_from(range(len(SEEDS)))),
)
changes = st.lists(change, min_size=1, max_size=4)


def mutate(data: bytes, kind: str, where: float, what: int) -> bytes:
    """Do one damage to `data`."""
    at = int(where * len(data))
    match kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ what]) + data[at + 1 :] if data else data
        case "drop":
            return data[:at] + data[at + what :]
        case "twice":
            return data[: at + what] + data[at:]
        case "insert":
            return data[:at] + WORDS[what] + data[at:]
        case "cut":
            return data[:at]
        case _:
            other = SEEDS[what]()
            return data[:at] + other[int(where * len(other)) :]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    relaxed = 'durability = "relaxed"\n'
    with serving.running(tmp_path_factory.mktemp("mutants"), server=relaxed, rest=CONFIG) as server:
        assert server.put(FILE, CONTENT, "text/plain").status == 201
        workers = server.workers
        yield server
        wire.settle(server)
        assert server.workers == workers
        stored = {key: (server.storage / key).stat().st_size for key in server.files()}
        del stored[f"upload/{FILE}"]
        # The Go server's own tokens name no directory, or nothing at all; the others grant one file each.
        bound = {key: size for key, size in stored.items() if not key.startswith("go/")}
        assert bound == {key: granted.get(key) for key in bound}
        assert len(bound) > 100, "no damage spared an upload, so nothing was tested"


def answers(data: bytes) -> list[Answer]:
    """Take all that came apart, without knowing which answers are to HEAD; leave out 100 Continue."""
    found = []
    while data:
        taken = wire.take(data, "HEAD")
        assert taken is not None, data[:200]
        answer, rest = taken
        if rest and not rest.startswith(b"HTTP/1.1 "):
            taken = wire.take(data)
            assert taken is not None, data[:200]
            answer, rest = taken
        if answer.status != 100:
            found.append(answer)
        data = rest
    return found


def judge(sent: bytes, got: list[Answer]) -> None:
    """Compare what came with what the http room alone makes of the same bytes."""
    front = reader.read([sent])
    begun = front._head is not None  # a body that never ended has its answer too
    assert len(got) <= len(front.seen) + begun, "an answer too many"
    for answer, seen in zip(got, front.seen, strict=False):
        assert answer.status < 500 or answer.status in FINE
        assert len(answer.fields["x-request-id"]) > 8
        if isinstance(seen, reader.Rejected):
            # A body may be left unread, and then ends the connection.
            in_body = seen.code in {"bad_chunk", "trailer_too_large", "too_large"}
            assert answer.status == seen.status or (in_body and answer.fields["connection"] == "close")
        elif answer.status in FRAMING:
            code = answer.body.partition(b'"code": "')[2].partition(b'"')[0].decode()
            assert code in {"", *WELL_FRAMED}, code
    if not got:
        # Only what never became a request may end without an answer: the client had hung up.
        assert not front.seen


WELL_FRAMED: Final = frozenset(
    {"query_malformed", "range_on_put", "form_malformed", "bad_path", "name_too_long", "body_incomplete"}
)


@given(first=st.sampled_from(SEEDS), damage=changes, cut=st.one_of(st.none(), place), canary=st.booleans())
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.timeout(3600 if FULL else 300)
def test_damaged_requests(
    server: Server,
    first: Callable[[], bytes],
    damage: list[tuple[str, float, int]],
    cut: float | None,
    canary: bool,  # noqa: FBT001 - drawn by name
) -> None:
    data = first()
    for kind, where, what in damage:
        data = mutate(data, kind, where, what)
    if canary:
        data += CANARY
    with Wire(server) as client:
        at = len(data) if cut is None else int(cut * len(data))
        client.send(data[:at])
        if data[at:]:
            client.send(data[at:])
        client.finish()
        judge(data, answers(client.rest()))


STATUSES: Final = (
    *((200,), (200,), (200,), (200,), (200,), (200,), (405,), (200,)),
    *((200, 200, 201, 200), (201,), (201,), (201, 201), (201,)),
    *((201,), (201,), (201, 200), (200,)),
)


@pytest.mark.parametrize("piece", [0, 1, 7, 64])
@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_the_undamaged_requests_are_sound(server: Server, number: int, piece: int) -> None:
    """Else nothing would be learned from their damage."""
    with Wire(server) as client:
        client.send(SEEDS[number]() + CANARY, piece)
        client.finish()
        got = [answer.status for answer in answers(client.rest())]
    ends = b"Connection: keep-alive, close" in SEEDS[number]()
    assert got == [*STATUSES[number], *(() if ends else (200,))]
