"""Uploads in every dialect: what arrives, what is refused, what two at once come to, what is left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import procfs
import pytest
import serving
import wire
from wire import Wire

from hmacfs.auth import keyring, prosody
from hmacfs.model import MiB, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Answer, Server

CONFIG = """
[timeouts]
linger = "1s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token", "jwt", "v3", "bearer", "gojwt"]
[[endpoint]]
prefix = "/base/"
directory = ""
protocols = ["v2", "v"]
"""
QUERY, FIELD = ("v", "v2", "token", "v3"), ("jwt", "bearer", "gojwt")
DIALECTS = (*QUERY, *FIELD)
CREATED = dict.fromkeys(DIALECTS, 201) | {"v3": 200, "gojwt": 200}
NAMES = (
    *("plain.bin", "two words.txt", "1+1=2.txt", "100%25 %sure.txt", "été 🎉🎉.png", "x" * 196 + ".bin"),
    *("a&b=c;d,e'(f)!~@:$*.bin", "...", "-rf", "日本語.txt", "é" * 100, 'quote"d.txt', "a" * 255),
)
KEY = Secret(serving.SECRET.encode())
SECRET_TEXT = b"nobody may read this"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("uploads")
    (where / "secret.txt").write_bytes(SECRET_TEXT)
    with serving.running(where, rest=CONFIG, server='max_upload_size = "1GB"\n') as server:
        assert server.put("warm/up.bin", b"so that every lasting descriptor is open").status == 201
        assert server.get("warm/up.bin").status == 200
        yield server
        wire.settle(server)
        assert (where / "secret.txt").read_bytes() == SECRET_TEXT


def held(server: Server) -> Counter[str]:
    """Count what the workers' descriptors are open on."""
    found: Counter[str] = Counter()
    for pid in server.workers:
        for target in procfs.descriptors(pid).values():
            found["socket" if target.startswith("socket:") else target] += 1
    return found


def tree(server: Server) -> list[str]:
    """Return every name below the storage, directories and private state included, but for its locks."""
    return sorted(str(path) for path in server.storage.rglob("*") if path.suffix != ".lock")


@pytest.fixture
def nothing_left(server: Server) -> Iterator[None]:
    """Fail the test that leaves a name, a descriptor or a connection behind."""
    wire.settle(server)
    names, open_before = tree(server), held(server)
    yield
    wire.settle(server)
    assert tree(server) == names
    deadline = time.monotonic() + serving.PATIENCE_S  # a dropped file is closed by a thread of its own
    while more := held(server) - open_before:
        assert time.monotonic() < deadline, f"left open: {more}"


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A request that a token lets in."""

    target: str
    fields: dict[str, str]

    def head(self, length: int | None, **more: str) -> bytes:
        fields = {**self.fields, **{name.replace("_", "-"): value for name, value in more.items()}}
        if length is None:
            fields["Transfer-Encoding"] = "chunked"
        return serving.head("PUT", self.target, fields, length)


def sign(dialect: str, rel: str, size: int, content_type: str = "text/plain") -> Signed:
    fields = {"Content-Type": content_type}
    if dialect in FIELD:
        target, fields["Authorization"] = serving.bearer(rel, size, content_type, dialect=dialect)
    else:
        target = serving.signed(rel, size, content_type, dialect=dialect)
    return Signed(target=target, fields=fields)


def send(server: Server, head: bytes, body: bytes, method: str = "PUT") -> Answer:
    with Wire(server) as client:
        client.send(head + body)
        return client.expect(method)


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["code"])


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_dialect_and_name(server: Server, dialect: str, name: str) -> None:
    rel, body = serving.fresh(name), secrets.token_bytes(3000)
    answer = send(server, sign(dialect, rel, len(body)).head(len(body)), body)
    assert answer.status == CREATED[dialect]
    got = server.get(rel)
    assert (got.status, got.body) == (200, body)
    assert got.fields["content-disposition"].endswith(f"filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 3 * MiB + 1])
def test_every_dialect_and_size(server: Server, dialect: str, size: int) -> None:
    rel, body = serving.fresh(), secrets.token_bytes(size)
    assert send(server, sign(dialect, rel, size).head(size), body).status == CREATED[dialect]
    assert server.get(rel).body == body


@pytest.mark.parametrize("size", [0, 1, 3000, MiB + 1])
@pytest.mark.parametrize("piece", [1000, 100_000])
def test_a_chunked_upload_by_jwt(server: Server, size: int, piece: int) -> None:
    rel, body = serving.fresh(), secrets.token_bytes(size)
    assert send(server, sign("jwt", rel, size).head(None), chunked(body, piece)).status == 201
    assert server.get(rel).body == body


def test_an_upload_byte_by_byte(server: Server) -> None:
    rel, body = serving.fresh(), secrets.token_bytes(500)
    other = serving.fresh()
    with Wire(server) as client:
        client.send(sign("v2", rel, 500).head(500) + body, 1)
        assert client.expect().status == 201
        client.send(sign("jwt", other, 500).head(None) + chunked(body, 7), 1)
        assert client.expect().status == 201
    assert server.get(rel).body == server.get(other).body == body


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("body", [b"", b"x" * 999, b"x" * 1001, b"x" * 5000])
def test_a_chunked_body_of_another_size(server: Server, body: bytes) -> None:
    for piece in (1, 10_000):
        answer = send(server, sign("jwt", serving.fresh(), 1000).head(None), chunked(body, piece))
        assert (answer.status, code(answer)) == (413, "size_mismatch")


BINDING = {
    # dialect: what another size, another type, another name, another directory come to (None: allowed)
    "v": (403, None, 403, 403),
    "v2": (403, 403, 403, 403),
    "token": (403, 403, 403, 403),
    "v3": (None, None, 403, 403),
    "jwt": (413, None, 403, 403),
    "bearer": (403, None, 403, None),
    "gojwt": (None, None, None, None),
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_token_is_for_what_it_signs(server: Server, dialect: str) -> None:
    size, content_type, name, directory = BINDING[dialect]
    rel = serving.fresh("signed.bin")
    good = sign(dialect, rel, 5)
    changed = (
        (size, good.head(6)),
        (size, good.head(4)),
        (content_type, good.head(5, Content_Type="image/png")),
        (name, good.head(5).replace(b"signed.bin", b"signee.bin")),
        (directory, good.head(5).replace(rel[:8].encode(), b"00000000")),
    )
    for status, head in changed:
        if status is not None:
            assert send(server, head, b"hello!").status == status
    for method in (b"POST", b"DELETE"):
        assert send(server, good.head(5).replace(b"PUT", method, 1), b"hello").status == 405


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_damaged_token(server: Server, dialect: str) -> None:
    good = sign(dialect, serving.fresh(), 5)
    if dialect in FIELD:
        token = good.fields["Authorization"]
        for damaged in (token[:-4] + "AAAA", token[:-1], token + "A", token.replace("Bearer ", "Bearer x")):
            assert send(server, good.head(5, Authorization=damaged), b"hello").status == 403
        assert send(server, good.head(5, Authorization=token.split()[1]), b"hello").status == 401
    else:
        mac = good.target.partition("=")[2].partition("&")[0]
        for damaged in (mac[:-1], mac + "0", mac[::-1], mac[1:] + mac[0], "", "g" * 64, "0" * 64):
            head = good.head(5).replace(f"={mac}".encode(), f"={damaged}".encode(), 1)
            assert send(server, head, b"hello").status == 403


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("dialect", ["jwt", "v3", "gojwt", "bearer"])
def test_an_expired_token(server: Server, dialect: str) -> None:
    rel = serving.fresh()
    if dialect == "v3":
        until = int(time.time()) - 120
        mac = keyring.sign(KEY, f"PUT\n{until}\n/{rel}".encode()).hex()
        signed = Signed(target=f"/upload/{rel}?v3={mac}&expires={until}", fields={})
    else:
        target, value = serving.bearer(rel, 5, dialect=dialect, ttl_s=-120)
        signed = Signed(target=target, fields={"Authorization": value})
    answer = send(server, signed.head(5), b"hello")
    assert (answer.status, code(answer)) == (403, "token_expired")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_token_does_not_replace_a_file(server: Server, dialect: str) -> None:
    rel = serving.fresh()
    signed = sign(dialect, rel, 5)
    assert send(server, signed.head(5), b"first").status == CREATED[dialect]
    names = tree(server)
    for _ in range(3):
        answer = send(server, signed.head(5), b"again")
        assert (answer.status, code(answer)) == (409, "exists")
    assert server.get(rel).body == b"first"
    assert tree(server) == names


@pytest.mark.usefixtures("nothing_left")
def test_a_v2_token_is_no_v_token_of_another_size(server: Server) -> None:
    """X1: with NUL in a path, v's message could be v2's."""
    mac = keyring.sign(KEY, prosody.message_v2("u/f", 12, b"x 99")).hex()
    head = serving.head("PUT", f"/upload/u/f%0012%00x?v={mac}", {"Content-Type": "text/plain"}, 99)
    answer = send(server, head, bytes(99))
    assert (answer.status, code(answer)) == (400, "bad_path")


def give_up(server: Server, signed: Signed) -> int:
    """Have an unfinished upload dropped; give the status."""
    return server.request("DELETE", signed.target, fields={**signed.fields, "Tus-Resumable": "1.0.0"}).status


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("sent", [0, 1, 4999])
@pytest.mark.parametrize("dialect", ["v2", "jwt"])
def test_a_body_that_ends_early(server: Server, dialect: str, sent: int) -> None:
    signed = sign(dialect, serving.fresh(), 5000)
    with Wire(server) as client:
        client.send(signed.head(5000) + bytes(sent))
        client.finish()
        answer = client.expect()
        assert (answer.status, code(answer)) == (400, "body_incomplete")
        assert client.rest() == b""
    assert give_up(server, signed) == (204 if sent else 404)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("sent", [0, 1, 2 * MiB])
def test_a_client_that_vanishes(server: Server, sent: int) -> None:
    every = [sign("v2", serving.fresh(), 4 * MiB) for _ in range(20)]
    for number, signed in enumerate(every):
        with Wire(server) as client:
            client.send(signed.head(4 * MiB) + bytes(sent))
            if number % 2:  # a reset instead of an orderly end
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.settle(server)
    for signed in every:  # a reset may have overtaken the body
        assert give_up(server, signed) in ({204, 404} if sent else {404})


def test_bytes_after_a_body_are_the_next_request(server: Server) -> None:
    rel = serving.fresh()
    with Wire(server) as client:
        client.send(sign("v2", rel, 5).head(5) + b"helloworld\r\n")
        assert client.expect().status == 201
        answer = client.expect()
        assert (answer.status, code(answer)) == (400, "bad_request_line")
        client.finish()
        assert client.rest() == b""
    assert server.get(rel).body == b"hello"


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_parts_and_codings_are_refused(server: Server, dialect: str) -> None:
    signed = sign(dialect, serving.fresh(), 5)
    assert send(server, signed.head(5, Content_Range="bytes 0-4/*"), b"hello").status == 400
    assert send(server, signed.head(5, Content_Encoding="gzip"), b"hello").status == 415


UPWARD = (
    *("../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", ".%2e/secret.txt"),
    *("..%5csecret.txt", "..\\secret.txt", "%252e%252e/secret.txt", "..%252fsecret.txt", "..;/secret.txt"),
    *("%c0%ae%c0%ae/secret.txt", "..%c0%afsecret.txt", "%e0%80%ae%e0%80%ae/secret.txt", "..%00/secret.txt"),
    *("a/../../secret.txt", "./../secret.txt", "..//secret.txt", "/../secret.txt", "//secret.txt"),
    *("....//secret.txt", "..../secret.txt", "%2e%2e%5c%2e%2e%5csecret.txt", "..%u2215secret.txt"),
    *("%uff0e%uff0e/secret.txt", "\uff0e\uff0e/secret.txt", "..%ef%bc%8fsecret.txt", "..%09/x", ".."),
    *("../.hmacfs/index.sqlite", "%2ehmacfs/index.sqlite", "secret.txt%00.png", "%2e%2e", "..%3f", "%2e"),
)  # fmt: skip
ABOVE = ("/upload/", "/upload/a/", "/base/", "/download/", "/download/upload/", "/", "/upload")


def remove(place: Path, keep: Path) -> None:
    """Remove a file and the directories that it made."""
    place.unlink()
    for directory in place.parents:
        if directory in {keep, keep.parent}:
            break
        directory.rmdir()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("above", ABOVE)
def test_no_way_leads_out(server: Server, method: str, above: str) -> None:
    for path in UPWARD:
        rel = f"{above}{path}".removeprefix("/upload/").removeprefix("/base/")
        mac = keyring.sign(KEY, prosody.message_v(rel, 5)).hex()
        head = f"{method} {above}{path}?v={mac} HTTP/1.1\r\nHost: a\r\n".encode()
        if method == "PUT":
            head += b"Content-Length: 5\r\n"
        answer = send(server, head + b"\r\n", b"evil!" if method == "PUT" else b"", method)
        if answer.status == 201:
            # Dots with something beside them are a name like any other, and this token is for it.
            place = server.storage / above.strip("/").replace("base", "") / path
            assert place.read_bytes() == b"evil!"
            assert ".." not in place.parts
            remove(place, server.storage / "upload")
            continue
        assert answer.status in {400, 403, 404, 405}, path
        assert SECRET_TEXT not in answer.body


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize(
    "path",
    ["linked/secret.txt", "file", "dangling", "private/index.sqlite", "loop/loop/x", "linked/new/deep.bin"],
)
def test_links_are_not_followed(server: Server, method: str, path: str) -> None:
    place = server.storage / "upload" / "links"
    outside = server.storage.parent
    with links(place, outside, server.storage):
        before = sorted(outside.iterdir())
        rel = f"links/{path}"
        if method == "PUT":
            answer = send(server, sign("v2", rel, 5).head(5), b"evil!")
        else:
            answer = server.request(method, f"/upload/{rel}")
        assert answer.status in {404, 409} if method == "PUT" else answer.status == 404
        assert sorted(outside.iterdir()) == before


@contextlib.contextmanager
def links(place: Path, outside: Path, storage: Path) -> Iterator[None]:
    place.mkdir()
    targets = {
        "linked": outside,
        "file": outside / "secret.txt",
        "dangling": outside / "none.txt",
        "private": storage / ".hmacfs",
        "loop": place,
    }
    for name, target in targets.items():
        (place / name).symlink_to(target)
    yield
    for name in targets:
        (place / name).unlink()
    place.rmdir()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("rel", [".hmacfs/index.sqlite", ".hmacfs/new.bin", ".HMACFS/x", ".hmacfs"])
def test_private_state_is_out_of_reach(server: Server, rel: str) -> None:
    mac = keyring.sign(KEY, prosody.message_v(rel, 5)).hex()
    for method in ("GET", "HEAD"):
        assert server.request(method, f"/base/{rel}").status == 404
        assert server.request(method, f"/download/{rel}").status == 404
    assert server.request("PUT", f"/base/{rel}?v={mac}", body=b"evil!").status == 404


@pytest.mark.usefixtures("nothing_left")
def test_files_are_no_directories_and_the_other_way_round(server: Server) -> None:
    for rel, statuses in {"warm/up.bin/x": {404, 409}, "warm": {409}, "warm/up.bin/x/y": {404, 409}}.items():
        assert send(server, sign("v2", rel, 5).head(5), b"hello").status in statuses
        if rel != "warm":
            assert server.get(rel).status == 404


@pytest.mark.usefixtures("nothing_left")
def test_a_directory_is_no_file_and_a_slash_no_name(server: Server) -> None:
    for path in ("/upload/", "/upload", "/upload/warm", "/upload/warm/", "/base/upload", "/base/"):
        assert server.request("GET", path).status == 404
    assert server.request("PUT", "/upload/a/?v2=00", body=b"x").status in {403, 404}


def of_two_workers(server: Server, stack: contextlib.ExitStack) -> list[Wire]:
    """Return a connection to each of two workers; the request id begins with the worker's own."""
    found: dict[str, Wire] = {}
    while len(found) < 2:
        client = stack.enter_context(Wire(server))
        client.send(serving.head("GET", "/health", None))
        found.setdefault(client.expect().fields["x-request-id"][:8], client)
    return list(found.values())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("pair"), rest=CONFIG, workers=2) as server:
        yield server
        wire.settle(server)


def test_of_two_uploads_to_one_name_one_is_kept(pair: Server) -> None:
    """Both have their place when the bodies come, so that only the publication can decide."""
    for _ in range(100):
        rel = serving.fresh()
        signed = sign("v2", rel, 1000)
        bodies = [secrets.token_bytes(1000) for _ in range(2)]
        with contextlib.ExitStack() as stack:
            clients = of_two_workers(pair, stack)
            for client in clients:
                client.send(signed.head(1000, Expect="100-continue"))
            assert [client.expect().status for client in clients] == [100, 100]
            for client, body in zip(clients, bodies, strict=True):
                client.send(body)
            statuses = [client.expect().status for client in clients]
        assert sorted(statuses) == [201, 409]
        assert pair.get(rel).body == bodies[statuses.index(201)]


def test_of_many_uploads_to_one_name_one_is_kept(pair: Server) -> None:
    for number, dialect in enumerate(itertools.islice(itertools.cycle(DIALECTS), 28)):
        rel = serving.fresh(f"{number}.bin")
        bodies = [bytes([who]) * 1000 for who in range(8)]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Wire(pair)) for _ in bodies]
            head = sign(dialect, rel, 1000).head(1000)
            for client, body in zip(clients, bodies, strict=True):
                client.send(head + body)
            statuses = [client.expect().status for client in clients]
        assert sorted(statuses) == [CREATED[dialect], *[409] * 7]
        assert pair.get(rel).body == bodies[statuses.index(CREATED[dialect])]


def test_ejabberd_with_several_hosts_needs_one_endpoint(tmp_path: Path) -> None:
    """Its put_url holds the host, its token does not: nobody stores one file for each host with it."""
    rest = '[[endpoint]]\nprefix = "/upload/@HOST@/"\nprotocols = ["v"]\n'
    with serving.running(tmp_path, rest=rest) as server:
        rel = f"0123abcd/{serving.fresh()}"
        for host, body, status in (
            ("a.example", b"hello", 201),
            ("a.example", b"other", 409),
            ("b.example", b"other", 409),
        ):
            target = serving.signed(rel, 5, dialect="v", prefix=f"/upload/{host}/")
            assert server.request("PUT", target, body=body).status == status
        assert server.files() == [f"upload/{rel}"]
        for host in ("a.example", "b.example"):
            assert server.request("GET", f"/upload/{host}/{rel}").body == b"hello"
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
        other = f"0123abcd/{serving.fresh()}"
        target = serving.signed(other, 5, dialect="v", prefix="/upload/a.example/")
        answer = server.request("POST", target, fields=tus)
        assert answer.status == 201
        assert answer.fields["location"].startswith(f"/upload/a.example/{other}")
