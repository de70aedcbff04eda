"""A refusal reaches its client whole, however much the client is still sending, and says why."""

from __future__ import annotations

import functools
import http.client
import json
import socket
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plain_nginx
import pytest
import serving
import wire
from wire import Wire

from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Answer, Server

EXISTING = "there/file.bin"
LARGE = 64 * MiB
TOO_LARGE = 128 * MiB
ENDPOINTS = """
[timeouts]
linger = "5s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
"""


def serve(where: Path, *, margin: str = "1MB", rest: str = ENDPOINTS) -> Server:
    """Start a server with an existing file; `margin` is what it keeps free of the disk."""
    directory = where / "store" / "upload" / "there"
    directory.mkdir(parents=True)
    (directory / "file.bin").write_bytes(b"first")
    text = serving.configuration(where / "store", server='max_upload_size = "100MB"\n', rest=rest)
    return serving.start(where, text.replace('min_free_bytes = "1MB"', f'min_free_bytes = "{margin}"'))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("refusing")) as server:
        yield server
        wire.settle(server)
        assert server.files() == [f"upload/{EXISTING}"]
        assert server.stop() == 0


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server whose disk has not the room it wants."""
    with serve(tmp_path_factory.mktemp("full"), margin="900TB") as server:
        yield server
        wire.settle(server)
        assert server.stop() == 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """An upload that must be refused while its body is on its way."""

    status: int
    code: str
    target: str
    size: int = LARGE
    fields: tuple[tuple[str, str], ...] = ()
    chunked: bool = False
    method: str = "PUT"
    full: bool = False

    def head(self) -> bytes:
        """Return the request's head."""
        framing = ("Transfer-Encoding", "chunked") if self.chunked else ("Content-Length", str(self.size))
        lines = "".join(f"{name}: {value}\r\n" for name, value in (("Host", "a"), framing, *self.fields))
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode()

    def pieces(self) -> Iterator[bytes]:
        """Return the body as it goes on the wire."""
        if not self.chunked:
            yield from (bytes(MiB) for _ in range(self.size // MiB))
            return
        yield from (b"100000\r\n" + bytes(MiB) + b"\r\n" for _ in range(self.size // MiB))
        yield b"0\r\n\r\n"


def share(*, chunked: bool) -> Case:
    target, token = serving.bearer("u/granted.bin", MiB, prefix="/share/")
    fields = (("Authorization", token),)
    return Case(status=413, code="size_mismatch", target=target, fields=fields, chunked=chunked)


def signed(rel: str, size: int) -> str:
    return serving.signed(rel, size)


OCTETS = (("Content-Type", "application/octet-stream"),)
CASES = {
    "wrong-token": Case(status=403, code="token_wrong", target="/upload/a/b?v2=00"),
    "no-token": Case(status=403, code="token_missing", target="/upload/a/b"),
    "no-jwt": Case(status=401, code="jwt_missing", target="/share/a/b"),
    "exists": Case(status=409, code="exists", target=signed(EXISTING, LARGE), fields=OCTETS),
    "no-length": Case(
        status=411, code="length_required", target=f"/upload/a/b?v2={'0' * 64}", fields=OCTETS, chunked=True
    ),
    "too-large": Case(
        status=413, code="too_large", target=signed("a/b", TOO_LARGE), size=TOO_LARGE, fields=OCTETS
    ),
    "not-granted": share(chunked=False),
    "more-than-granted": share(chunked=True),
    "no-room": Case(status=507, code="disk_full", target=signed("a/b", LARGE), fields=OCTETS, full=True),
    "bad-path": Case(status=400, code="bad_path", target="/upload/a//b?v2=00"),
    "no-place": Case(status=404, code="not_found", target="/none"),
    "method": Case(status=405, code="method_not_allowed", target="/upload/a/b", method="POST"),
    "encoded": Case(
        status=415, code="encoding_on_put", target="/upload/a/b?v2=00", fields=(("Content-Encoding", "gzip"),)
    ),
    "part": Case(
        status=400,
        code="range_on_put",
        target="/upload/a/b?v2=00",
        fields=(("Content-Range", f"bytes 0-{LARGE - 1}/*"),),
    ),
    "upgrade": Case(
        status=403,
        code="token_wrong",
        target="/upload/a/b?v2=00",
        fields=(("Connection", "upgrade"), ("Upgrade", "h2c")),
    ),
}
cases = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def refusing(name: str, request: pytest.FixtureRequest) -> Server:
    """Return the server that refuses this case."""
    found: Server = request.getfixturevalue("full" if CASES[name].full else "server")
    return found


def check(case: Case, status: int, body: bytes) -> None:
    problem = json.loads(body)
    assert (status, problem["status"], problem["code"]) == (case.status, case.status, case.code)


@cases
def test_a_client_that_sends_all_before_it_reads(name: str, refusing: Server) -> None:
    case = CASES[name]
    with Wire(refusing) as client:
        client.sock.sendall(case.head())
        for piece in case.pieces():
            client.sock.sendall(piece)  # no reset: this would raise
        answer = client.expect()
        check(case, answer.status, answer.body)
        assert answer.fields["connection"] == "close"
        client.finish()
        assert client.rest() == b""


@cases
def test_pythons_own_client(name: str, refusing: Server) -> None:
    case = CASES[name]
    connection = http.client.HTTPConnection(refusing.host, refusing.port, timeout=60)
    connection.connect()
    connection.putrequest(case.method, case.target, skip_accept_encoding=True)
    framing = ("Transfer-Encoding", "chunked") if case.chunked else ("Content-Length", str(case.size))
    for field, value in (framing, *case.fields):
        connection.putheader(field, value)
    connection.endheaders()
    for piece in case.pieces():
        connection.send(piece)
    answer = connection.getresponse()
    check(case, answer.status, answer.read())
    connection.close()


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return sparse files."""
    folder = tmp_path_factory.mktemp("zeros")

    @functools.cache
    def make(size: int) -> Path:
        path = folder / str(size)
        with path.open("wb") as file:
            file.truncate(size)
        return path

    return make


@pytest.fixture
def curl(
    program: Callable[[str], str], zeros: Callable[[int], Path], tmp_path: Path
) -> Callable[[Server, Case, str], subprocess.CompletedProcess[str]]:
    """Return a function that uploads with curl; what the server said is in tmp_path / "said"."""

    def run(server: Server, case: Case, expect: str) -> subprocess.CompletedProcess[str]:
        command = [program("curl"), "--silent", "--show-error", "--request", case.method, "--path-as-is"]
        command += ["--upload-file", str(zeros(case.size)), "--output", str(tmp_path / "said")]
        command += ["--write-out", "%{http_code}", "--header", "Content-Type:", "--header", expect]
        for field, value in case.fields:
            command += ["--header", f"{field}: {value}"]
        if case.chunked:
            command += ["--header", "Transfer-Encoding: chunked"]
        url = f"http://{server.host}:{server.port}{case.target}"
        return subprocess.run([*command, url], check=False, capture_output=True, text=True)

    return run


@cases
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_curl(
    name: str,
    refusing: Server,
    expect: str,
    curl: Callable[[Server, Case, str], subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    case = CASES[name]
    done = curl(refusing, case, expect)
    assert (done.stdout, done.stderr, done.returncode) == (str(case.status), "", 0)
    check(case, case.status, (tmp_path / "said").read_bytes())


@dataclass(frozen=True, kw_only=True)
class Fronts:
    """Addresses of nginx in front of the servers."""

    buffering: bool
    server: str
    full: str


@pytest.fixture(scope="module", params=["on", "off"])
def fronts(
    request: pytest.FixtureRequest,
    server: Server,
    full: Server,
    program: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fronts]:
    """Return nginx in front of both servers, buffering requests or not."""
    with (
        plain_nginx.front(
            program("nginx"),
            tmp_path_factory.mktemp("nginx"),
            f"{server.host}:{server.port}",
            buffering=request.param,
        ) as first,
        plain_nginx.front(
            program("nginx"),
            tmp_path_factory.mktemp("nginx"),
            f"{full.host}:{full.port}",
            buffering=request.param,
        ) as second,
    ):
        yield Fronts(buffering=request.param == "on", server=first, full=second)


# nginx answers this itself: it makes paths plain.
THROUGH = [name for name in CASES if name != "bad-path"]


@pytest.mark.parametrize("name", THROUGH)
def test_through_nginx(name: str, fronts: Fronts) -> None:
    case = CASES[name]
    host, _, port = (fronts.full if case.full else fronts.server).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(case.head())
        for piece in case.pieces():
            sock.sendall(piece)
        answer = http.client.HTTPResponse(sock, method=case.method)
        answer.begin()
        said = answer.read()
    if name == "no-length" and fronts.buffering:
        assert answer.status == 403  # a proxy that has the whole body knows its length, and says it
    else:
        check(case, answer.status, said)
    # The proxy's kept connection must be clean: its next answers are those of its next requests.
    after = http.client.HTTPConnection(host, int(port), timeout=60)
    for number in range(4):
        after.request("GET", f"/upload/{EXISTING}", headers={"Range": f"bytes={number}-{number}"})
        got = after.getresponse()
        assert (got.status, got.read()) == (206, b"first"[number : number + 1])
    after.close()


def test_a_slow_client_is_listened_to_for_long(tmp_path: Path) -> None:
    """It sends for longer than `linger`, but is never silent for so long."""
    with serve(tmp_path, rest='[timeouts]\nlinger = "600ms"\n') as server, Wire(server) as client:
        client.sock.sendall(CASES["wrong-token"].head())
        pause = threading.Event()
        for _ in range(16):
            client.sock.sendall(bytes(1000))
            pause.wait(0.1)
        answer = client.expect()
        check(CASES["wrong-token"], answer.status, answer.body)
        assert client.rest() == b""
        assert server.stop() == 0


def ask(server: Server, head: bytes) -> Answer:
    with Wire(server) as client:
        client.send(head)
        return client.expect()


BAD = {
    "bad_request_line": b"GET /a b HTTP/1.1\r\nHost: a\r\n",
    "version_unsupported": b"GET / HTTP/2.0\r\nHost: a\r\n",
    "method_unknown": b"BREW / HTTP/1.1\r\nHost: a\r\n",
    "bad_target": b"GET /%zz HTTP/1.1\r\nHost: a\r\n",
    "bad_host": b"GET / HTTP/1.1\r\n",
    "bad_field": b"GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n",
    "bad_framing": b"PUT /upload/a/b HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n",
    "bad_path": b"GET /upload/../b HTTP/1.1\r\nHost: a\r\n",
    "name_too_long": b"GET /upload" + (b"/" + b"a" * 200) * 30 + b" HTTP/1.1\r\nHost: a\r\n",
    "bad_expect": b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n",
    "target_too_long": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n",
    "head_too_large": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17000 + b"\r\n",
    "not_found": b"GET /upload/a/b HTTP/1.1\r\nHost: a\r\n",
    "token_missing": b"PUT /upload/a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n",
    "jwt_missing": b"PUT /share/a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n",
    "range_not_satisfiable": b"GET /upload/there/file.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=9-\r\n",
    "precondition_failed": b'GET /upload/there/file.bin HTTP/1.1\r\nHost: a\r\nIf-Match: "x"\r\n',
}
# Of these no head was read, so nothing is known of what the client wants to read.
HEADLESS = {*list(BAD)[:7], "bad_expect", "target_too_long", "head_too_large"}


@pytest.mark.parametrize("code", BAD)
def test_a_problem_says_what_and_which(server: Server, code: str) -> None:
    answer = ask(server, BAD[code] + b"\r\n")
    problem = json.loads(answer.body)
    assert answer.fields["content-type"] == "application/problem+json"
    assert (problem["code"], problem["type"]) == (code, f"urn:hmacfs:problem:{code}")
    assert problem["status"] == answer.status
    assert problem["title"]
    assert problem["request_id"] == answer.fields["x-request-id"]
    assert answer.fields["access-control-allow-origin"] == "*"
    assert "X-Request-Id" in answer.fields["access-control-expose-headers"]
    assert answer.fields["cache-control"] == "no-store"
    assert answer.fields["date"].endswith(" GMT")
    line = server.wait_for("request", request_id=problem["request_id"])
    assert (line["status"], line["code"]) == (answer.status, code)


@pytest.mark.parametrize("code", [code for code in BAD if code not in HEADLESS])
def test_plain_text_for_who_prefers_it(server: Server, code: str) -> None:
    answer = ask(server, BAD[code] + b"Accept: text/plain\r\n\r\n")
    assert answer.fields["content-type"] == "text/plain; charset=utf-8"
    assert answer.fields["x-request-id"] in answer.body.decode()


def test_a_page_may_read_why_it_was_refused(tmp_path: Path) -> None:
    rest = f'[cors]\nallow_origins = ["https://chat.example"]\n{ENDPOINTS}'
    with serve(tmp_path, rest=rest) as server:
        for code in (code for code in BAD if code not in HEADLESS):
            answer = ask(server, BAD[code] + b"Origin: https://chat.example\r\n\r\n")
            assert answer.fields["access-control-allow-origin"] == "https://chat.example"
            answer = ask(server, BAD[code] + b"Origin: https://evil.example\r\n\r\n")
            assert "access-control-allow-origin" not in answer.fields
            assert answer.fields["vary"] == "Origin"
        assert server.stop() == 0


def test_a_secret_that_was_meant_without_its_end_is_told_once(tmp_path: Path) -> None:
    """An upload is refused; the log says why, by the key, and not again."""
    text = serving.configuration(tmp_path / "store", secret=f"{serving.SECRET}\\r\\n")
    with serving.start(tmp_path, text) as server:
        (notice,) = [line["notice"] for line in server.events if line["event"] == "config-notice"]
        assert "security.secret" in notice
        for _ in range(2):
            assert server.put(serving.fresh(), b"x").status == 403
        told = server.wait_for("secret-lookalike")
        assert (told["key"], told["ends"]) == ("security.secret", "ends in CR LF")
        assert server.stop() == 0
        assert sum(line["event"] == "secret-lookalike" for line in server.events) == 1
