"""The Go server's doors: forms, PUT with its tokens, /download/, /health, and Metronome's DELETE."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import children
import pytest
import serving
import wire
from wire import Wire

from hmacfs.auth import keyring, metronome
from hmacfs.model import MiB, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Answer, Server

DELETE_SECRET = "kT4vX9qLm2Wz7RbN8dYc3HfJ6sPaG5uE1oQi0MtC"
CONFIG = f"""
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
delete_secret = "{DELETE_SECRET}"
[[endpoint]]
prefix = "/go/"
directory = "go/files"
protocols = ["v3", "bearer", "gojwt"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
"""
CUT = "----cut1234"
LIMIT = 8 * MiB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("doors")
    with serving.running(where, server='max_upload_size = "8MB"\n', rest=CONFIG) as server:
        yield server
        wire.settle(server)


@pytest.fixture
def unchanged(server: Server) -> Iterator[None]:
    """Fail the test that leaves a file behind."""
    before = server.files()
    yield
    wire.settle(server)
    assert server.files() == before


def token(dialect: str, size: int) -> tuple[str, str]:
    """Return the target of a form and its Authorization."""
    target, value = serving.bearer("upload", size, dialect=dialect)
    query = target.partition("?")[2]
    return f"/upload?{query}" if query else "/upload", value


def field(name: str, content: bytes, filename: str | None = None, more: str = "") -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    head = f'--{CUT}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{CUT}--\r\n".encode()


def post(
    server: Server, body: bytes, dialect: str = "gojwt", content_type: str = "", piece: int = 0
) -> Answer:
    target, authorization = token(dialect, len(body))
    fields = {
        "Authorization": authorization,
        "Content-Type": content_type or f"multipart/form-data; boundary={CUT}",
    }
    with Wire(server) as client:
        client.send(serving.head("POST", target, fields, len(body)))
        client.send(body, piece)
        return client.expect()


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["code"])


def form_length(command: list[str]) -> int:
    """Return the Content-Length that this curl command sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with children.running([*command, f"http://127.0.0.1:{port}/"], stderr=subprocess.DEVNULL):
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as lines:
                return next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))


@pytest.mark.parametrize("dialect", ["gojwt", "bearer"])
def test_curl_sends_a_form(
    server: Server, dialect: str, program: Callable[[str], str], tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4000
    name = f"from curl + {dialect} é.bin"
    (tmp_path / name).write_bytes(content)
    command = [program("curl"), "--silent", "--show-error", "--header", "Expect:"]
    command += ["--form", "note=hello", "--form", f"file=@{tmp_path / name};type=image/png"]
    base = f"http://{server.host}:{server.port}"
    # A bearer token signs the length of the whole form, which curl tells only when it sends it.
    target, authorization = token(dialect, form_length(command))
    sent = [*command, "--header", f"Authorization: {authorization}", f"{base}{target}"]
    said = json.loads(subprocess.check_output(sent))
    assert {"success": True, "filename": name, "size": len(content)}.items() <= said.items()
    assert set(said) <= {"success", "filename", "size", "duration", "client_ip", "timestamp", "user"}
    assert said["duration"].endswith("s")
    assert abs(said["timestamp"] - time.time()) < 60
    assert said["client_ip"] == "127.0.0.1"
    for path in (f"/go/{quote(name)}", f"/download/go/files/{quote(name)}"):
        answer = server.request("GET", path)
        assert (answer.status, answer.body) == (200, content)


@pytest.mark.parametrize("piece", [0, 1, 3, 100])
def test_a_form_however_it_is_cut(server: Server, piece: int) -> None:
    content = f"\r\n--{CUT[:-1]}\r\n--{CUT[:-1]}x\r\n\r--\r--{CUT}\r\n-".encode() * 3
    name = f"cut-{piece}.bin"
    body = field("a", b"x") + field("file", content, name) + field("z", b"\r\n\r\n") + END + b"an epilogue"
    answer = post(server, body, piece=piece)
    assert (answer.status, json.loads(answer.body)["size"]) == (200, len(content))
    assert server.request("GET", f"/go/{name}").body == content


def test_what_mime_allows(server: Server) -> None:
    """A preamble and a folded head: RFC 2046 5.1.1, RFC 5322 2.2.3."""
    body = (
        b"a" * 100_000 + b"\r\n" + field("file", b"x", "odd.bin").replace(b"form-data;", b"form-data;\r\n ")
    )
    assert post(server, body + END).status == 200
    assert server.request("GET", "/go/odd.bin").body == b"x"


def test_an_empty_file_and_one_of_a_byte(server: Server) -> None:
    for content in (b"", b"x"):
        name = f"small-{len(content)}.txt"
        assert post(server, field("file", content, name) + END).status == 200
        assert server.request("GET", f"/go/{name}").body == content


def test_a_form_of_unknown_length(server: Server) -> None:
    body = field("file", b"chunked content", "chunked.bin") + END
    target, authorization = token("gojwt", 0)
    fields = {"Authorization": authorization, "Transfer-Encoding": "chunked"}
    fields["Content-Type"] = f'multipart/form-data; boundary="{CUT}"'
    with Wire(server) as client:
        client.send(serving.head("POST", target, fields))
        for at in range(0, len(body), 10):
            part = body[at : at + 10]
            client.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.expect().status == 200
    assert server.request("GET", "/go/chunked.bin").body == b"chunked content"


def test_a_taken_name_stays(server: Server) -> None:
    assert post(server, field("file", b"first", "taken.bin") + END).status == 200
    again = post(server, field("file", b"second", "taken.bin") + END)
    assert (again.status, code(again)) == (409, "exists")
    assert server.request("GET", "/go/taken.bin").body == b"first"


BARE = {
    "../../escape.bin": "escape.bin",
    "/etc/absolute.bin": "absolute.bin",
    "C:\\\\dir\\\\windows.bin": "windows.bin",
    "a/b/../deep.bin": "deep.bin",
    "..%2fencoded.bin": "..%2fencoded.bin",
    ".hidden": ".hidden",
    "...": "...",
    "%00.bin": "%00.bin",
    "sp ace + & ü.bin": "sp ace + & ü.bin",
}


@pytest.mark.parametrize("filename", BARE)
def test_only_the_last_part_of_a_name_counts(server: Server, filename: str) -> None:
    answer = post(server, field("file", filename.encode(), filename) + END)
    assert (answer.status, json.loads(answer.body)["filename"]) == (200, BARE[filename])
    assert f"go/files/{BARE[filename]}" in server.files()
    assert server.request("GET", f"/go/{quote(BARE[filename])}").body == filename.encode()


GOOD = field("file", b"content", "never.bin")
MALFORMED = {
    "nothing": b"",
    "no field": END,
    "no field named file": field("fil", b"x", "a.bin") + END,
    "two files": GOOD + field("file", b"y", "b.bin") + END,
    "no name": field("file", b"x") + END,
    "empty name": field("file", b"x", "") + END,
    "only a slash": field("file", b"x", "/") + END,
    "only dots": field("file", b"x", "..") + END,
    "a dot": field("file", b"x", "a/.") + END,
    "a slash last": field("file", b"x", "a/") + END,
    "long name": field("file", b"x", "n" * 8000) + END,
    "control in name": field("file", b"x", "a\x01b") + END,
    "nul in name": field("file", b"x", "a\x00b") + END,
    "escape in name": field("file", b"x", "a\x1b[31m") + END,
    "name is no utf-8": field("file", b"x", "@@").replace(b"@@", b"\xff\xfe") + END,
    "no end": GOOD,
    "cut in the end": (GOOD + END)[:-5],
    "cut in the content": GOOD[:-5],
    "cut in a part's head": GOOD[:30],
    "end first": END + GOOD + END,
    "other boundary": (GOOD + END).replace(b"cut1234", b"cut5678"),
    "lf": (GOOD + END).replace(b"\r\n", b"\n"),
    "cr": (GOOD + END).replace(b"\r\n", b"\r"),
    "lf in a part's head": GOOD.replace(b"form-data;", b"form-data;\n") + END,
    "cr in a part's head": GOOD.replace(b"form-data;", b"form-data;\rX: y") + END,
    "a head without a colon": GOOD.replace(b"Content-Disposition:", b"Content-Disposition") + END,
    "a nameless head": GOOD.replace(b"Content-Disposition:", b":") + END,
    "no disposition": GOOD.replace(b"Content-Disposition", b"Content-Location") + END,
    "not form-data": GOOD.replace(b"form-data", b"attachment") + END,
    "a large head": field("file", b"x", "a.bin", f"X-A: {'a' * 100_000}\r\n") + END,
    "many heads": field("file", b"x", "a.bin", "X-A: a\r\n" * 5000) + END,
    "a head without an end": f"--{CUT}\r\nX: ".encode() + b"a" * 1_000_000,
    "many parts": field("a", b"") * 100_000 + GOOD + END,
    "boundaries without parts": f"--{CUT}\r\n".encode() * 10_000,
    "text after a boundary": GOOD.replace(CUT.encode(), CUT.encode() + b"x") + END,
    "noise": bytes(range(256)) * 1000,
    "json": b'{"file": "x"}',
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("piece", [0, 1000])
def test_a_hostile_form_is_refused(server: Server, name: str, piece: int) -> None:
    answer = post(server, MALFORMED[name], piece=piece)
    assert (answer.status, code(answer) in {"form_malformed", "bad_path", "name_too_long"}) == (400, True)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary*0=a; boundary*1=b",
        "; boundary=x",
        '"',
    ],
)
def test_another_type_is_not_a_form(server: Server, content_type: str) -> None:
    answer = post(server, GOOD + END, content_type=content_type)
    assert (answer.status, code(answer)) == (415, "type_unsupported")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("boundary", ['"a b\\"c"', "x" * 5000, "\xff\xfe", '"\t"', "a,b", "''"])
def test_an_odd_boundary_does_no_harm(server: Server, boundary: str) -> None:
    answer = post(server, GOOD + END, content_type=f"multipart/form-data; boundary={boundary}")
    assert answer.status in {400, 415}


@pytest.mark.usefixtures("unchanged")
def test_a_form_too_large_is_refused_by_its_length(server: Server) -> None:
    answer = post(server, field("file", bytes(LIMIT + 100_000), "large.bin") + END)
    assert (answer.status, code(answer)) == (413, "too_large")


@pytest.mark.usefixtures("unchanged")
def test_a_form_whose_file_is_too_large(server: Server) -> None:
    answer = post(server, field("file", bytes(LIMIT + 1), "large.bin") + END)
    assert answer.status == 413


def test_the_largest_file_fits_into_a_form(server: Server) -> None:
    assert post(server, field("file", bytes(LIMIT), "largest.bin") + END).status == 200


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("authorization", "status"),
    [("", 401), ("Basic eDp5", 401), ("Bearer", 401), ("Bearer x", 403), ("Bearer a.b.c", 403)],
)
def test_a_form_needs_its_token(server: Server, authorization: str, status: int) -> None:
    fields = {"Content-Type": f"multipart/form-data; boundary={CUT}"}
    if authorization:
        fields["Authorization"] = authorization
    assert server.request("POST", "/upload", fields=fields, body=GOOD + END).status == status


@pytest.mark.usefixtures("unchanged")
def test_a_slots_token_is_not_for_forms(server: Server) -> None:
    _, value = serving.bearer("slot/name", 5, dialect="jwt")
    fields = {"Content-Type": f"multipart/form-data; boundary={CUT}", "Authorization": value}
    answer = server.request("POST", "/upload", fields=fields, body=GOOD + END)
    assert answer.status == 403


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["/upload/", "/go/x", "/", "/uploads", "/download/x"])
def test_forms_go_to_one_place(server: Server, path: str) -> None:
    fields = {"Content-Type": f"multipart/form-data; boundary={CUT}", "Authorization": token("gojwt", 1)[1]}
    answer = server.request("POST", path, fields=fields, body=GOOD + END)
    assert answer.status == 405
    assert "POST" not in answer.fields["allow"]


def test_put_with_the_go_servers_jwt(server: Server) -> None:
    rel = serving.fresh("go jwt é.bin")
    target, authorization = serving.bearer(rel, 5, dialect="gojwt", prefix="/go/")
    fields = {"Authorization": authorization, "Content-Type": "image/png"}
    answer = server.request("PUT", target, fields=fields, body=b"hello")
    said = json.loads(answer.body)
    assert (answer.status, answer.fields["content-type"]) == (200, "application/json")
    assert (said["message"], said["filename"]) == ("File uploaded successfully", "go jwt é.bin")
    assert said["size"] == 5
    assert server.request("GET", said["url"]).body == b"hello"
    assert server.request("PUT", target, fields=fields, body=b"again").status == 409


def test_put_with_v3(server: Server) -> None:
    rel = serving.fresh("v3.bin")
    target = serving.signed(rel, 5, dialect="v3", prefix="/go/")
    answer = server.request("PUT", target, body=b"hello")
    assert (answer.status, json.loads(answer.body)["size"]) == (200, 5)
    assert server.request("GET", f"/go/{rel}").body == b"hello"
    stale = target.replace("expires=", "expires=1")
    assert server.request("PUT", stale, body=b"hello").status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_downloads_are_for_saving(server: Server, method: str) -> None:
    rel = serving.fresh("picture.png")
    assert server.put(rel, b"picture", "image/png").status == 201
    answer = server.request(method, f"/download/upload/{rel}")
    assert (answer.status, answer.fields["content-type"]) == (200, "application/octet-stream")
    assert answer.fields["content-disposition"].startswith("attachment;")
    assert answer.fields["content-length"] == "7"


@pytest.mark.parametrize(
    "path", ["", "upload", "upload/", ".hmacfs/index.sqlite", "upload/none", "go", "../store/x", "%2e%2e/x"]
)
def test_downloads_of_what_is_no_file(server: Server, path: str) -> None:
    assert server.request("GET", f"/download/{path}").status in {400, 404}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health(server: Server, method: str) -> None:
    answer = server.request(method, "/health")
    assert (answer.status, answer.fields["content-length"]) == (200, "2")
    assert answer.body == (b"OK" if method == "GET" else b"")


def delete_target(rel: str, secret: str = DELETE_SECRET) -> str:
    message = metronome.message_delete(rel, Secret(secret.encode()))
    mac = keyring.sign(Secret(serving.SECRET.encode()), message).hex()
    return f"/upload/{quote(rel)}?token={mac}"


def test_metronome_deletes(server: Server) -> None:
    rel = serving.fresh("delete me é.bin")
    assert server.put(rel, b"here").status == 201
    assert server.get(rel).status == 200
    assert server.request("DELETE", delete_target(rel, "wrong" * 10)).status == 403
    assert server.request("DELETE", f"/upload/{quote(rel)}").status == 403
    assert server.request("DELETE", delete_target(rel + "x").replace("x?", "?")).status == 403
    assert server.get(rel).status == 200
    answer = server.request("DELETE", delete_target(rel))
    assert (answer.status, answer.body) == (204, b"")
    assert server.get(rel).status == 404
    assert f"upload/{rel}" not in server.files()
    assert server.request("DELETE", delete_target(rel)).status == 404
    assert server.put(rel, b"new").status == 201


@pytest.mark.parametrize("prefix", ["/go/", "/share/"])
def test_nobody_deletes_elsewhere(server: Server, prefix: str) -> None:
    target = delete_target("a/b").replace("/upload/", prefix)
    assert server.request("DELETE", target).status == 405
