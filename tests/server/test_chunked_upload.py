"""The Go server's chunked uploads against the running server: in any order, at once, and again."""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import languages
import pytest
import serving
from languages import go_bearer, refusal
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Answer, Server

UPLOAD, STATUS = "/chunked-upload", "/upload-status"
SIZE = 20_000_000
SERVER = f"max_upload_size = {SIZE}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with languages.served(tmp_path_factory.mktemp("chunks"), SERVER) as server:
        yield server


class Upload:
    """One upload as a client of the Go server makes it."""

    def __init__(self, server: Server, size: int, *, name: str = "", query: str = "") -> None:
        self.server = server
        self.holds = {} if query else go_bearer()
        self.query = f"?{query}" if query else ""
        self.name = name or f"{secrets.token_hex(8)}.bin"
        fields = {**self.holds, "X-Filename": self.name, "X-Total-Size": str(size)}
        self.begun = server.request("POST", UPLOAD + self.query, fields=fields)
        assert self.begun.status == 201, self.begun
        said = json.loads(self.begun.body)
        self.id, self.chunk, self.count = said["session_id"], said["chunk_size"], said["total_chunks"]
        self.body = secrets.token_bytes(size)

    def fields(self, number: int | str) -> dict[str, str]:
        return {**self.holds, "X-Upload-Session-ID": self.id, "X-Chunk-Number": str(number)}

    def piece(self, number: int) -> bytes:
        return self.body[number * self.chunk : (number + 1) * self.chunk]

    def bring(self, number: int, body: bytes | None = None) -> Answer:
        piece = self.piece(number) if body is None else body
        return self.server.request("POST", UPLOAD + self.query, fields=self.fields(number), body=piece)

    def status(self, **holds: str) -> dict[str, Any]:
        more = f"&{self.query[1:]}" if self.query else ""
        answer = self.server.request(
            "GET", f"{STATUS}?session_id={self.id}{more}", fields=holds or self.holds
        )
        assert answer.status == 200, answer
        said: dict[str, Any] = json.loads(answer.body)
        return said

    def check(self) -> None:
        assert self.server.get(self.name).body == self.body


def test_chunks_in_any_order_and_again(server: Server) -> None:
    upload = Upload(server, SIZE)
    assert len(upload.id) == 32
    assert upload.count == -(-SIZE // upload.chunk) > 2
    said = upload.status()
    assert (said["uploaded_bytes"], said["total_size"], said["completed"]) == (0, SIZE, False)
    assert (said["session_id"], said["filename"], said["chunks"]) == (upload.id, upload.name, 0)
    order = [upload.count - 1, *range(upload.count - 1)]
    for done, number in enumerate(order[:-1], 1):
        answer = upload.bring(number)
        assert answer.status == 200
        said = json.loads(answer.body)
        assert (said["success"], said["chunk"], said["completed"]) == (True, number, False)
        stored = sum(len(upload.piece(n)) for n in order[:done])
        assert (said["uploaded_bytes"], said["total_size"]) == (stored, SIZE)
        assert json.loads(upload.bring(number).body) == {"message": "Chunk already uploaded", "chunk": number}
        assert upload.status()["chunks"] == done
    last = json.loads(upload.bring(order[-1]).body)
    assert (last["success"], last["completed"], last["size"]) == (True, True, SIZE)
    assert last["filename"] == upload.name
    upload.check()
    said = upload.status()
    assert (said["completed"], said["progress"], said["uploaded_bytes"]) == (True, 1.0, SIZE)
    assert upload.bring(0).status == 200  # the answer was lost
    upload.check()


def test_chunks_at_the_same_time(server: Server) -> None:
    upload = Upload(server, SIZE)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Wire(server)) for _ in range(upload.count)]
        for number, client in enumerate(clients):
            piece = upload.piece(number)
            client.send(serving.head("POST", UPLOAD, upload.fields(number), len(piece)) + piece[:1000])
        for number, client in enumerate(clients):
            client.send(upload.piece(number)[1000:])
        answers = [json.loads(client.expect().body) for client in clients]
    assert sum(answer["completed"] for answer in answers) == 1
    upload.check()


def test_an_empty_file_is_complete_at_once(server: Server) -> None:
    upload = Upload(server, 0)
    assert upload.count == 0
    assert upload.status()["completed"]
    upload.check()


def test_a_signed_slot_instead_of_a_token(server: Server) -> None:
    rel = serving.fresh("été.bin")
    query = urlsplit(serving.signed(rel, 5)).query
    fields = {"X-Filename": rel.encode().decode("latin-1"), "X-Total-Size": "5"}
    kind = {"Content-Type": "application/octet-stream"}
    begun = server.request("POST", f"{UPLOAD}?{query}", fields={**fields, **kind})
    assert begun.status == 201, begun
    session = {"X-Upload-Session-ID": json.loads(begun.body)["session_id"], "X-Chunk-Number": "0"}
    assert server.request("POST", UPLOAD, fields=session, body=b"hello").status == 404
    assert server.request("POST", f"{UPLOAD}?{query}", fields=session, body=b"hello").status == 200
    assert server.get(rel).body == b"hello"
    for name, size in ((rel, 6), (serving.fresh(), 5)):
        wrong = {**kind, "X-Filename": name.encode().decode("latin-1"), "X-Total-Size": str(size)}
        assert server.request("POST", f"{UPLOAD}?{query}", fields=wrong).status in {403, 413}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/../../../x",
        "..",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "..\\..\\x",
        ".hmacfs/x",
    ],
)
def test_a_hostile_name_leads_nowhere(server: Server, name: str) -> None:
    """Neither by a token, which takes what follows the last slash, nor by whoever signs anything."""
    before = {path for path in server.storage.parent.rglob("*") if ".hmacfs" not in path.parts}
    fields = {"X-Filename": name, "X-Total-Size": "0", "Content-Type": "application/octet-stream"}
    answer = server.request("POST", UPLOAD, fields={**fields, **go_bearer()})
    assert answer.status in {201, 400, 404, 409}
    query = urlsplit(serving.signed(name, 0)).query
    assert server.request("POST", f"{UPLOAD}?{query}", fields=fields).status in {201, 400, 404, 409}
    after = {path for path in server.storage.parent.rglob("*") if ".hmacfs" not in path.parts}
    for path in after - before:
        assert path.parent == server.storage / "upload"
        path.unlink()


def test_who_may(server: Server) -> None:
    upload = Upload(server, 10)
    for holds in (go_bearer(), {}, {"Authorization": "Bearer x"}):
        fields = {**upload.fields(0), **holds} if holds else {
            name: value for name, value in upload.fields(0).items() if name != "Authorization"
        }  # fmt: skip
        assert refusal(server.request("POST", UPLOAD, fields=fields, body=b"x" * 10)) == (404, "not_found")
        answer = server.request("GET", f"{STATUS}?session_id={upload.id}", fields=holds)
        assert refusal(answer) == (404, "not_found")
    for named in ("0" * 32, "../../x", "a" * 31, quote("../x"), upload.id.upper() + "0"):
        answer = server.request("GET", f"{STATUS}?session_id={named}", fields=upload.holds)
        assert answer.status == 404
    assert server.request("GET", STATUS, fields=upload.holds).status == 400
    fields = {"X-Filename": "x.bin", "X-Total-Size": "5"}
    assert server.request("POST", UPLOAD, fields=fields).status in {401, 403}
    assert upload.status()["uploaded_bytes"] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"X-Total-Size": "5"}, 400),
        ({"X-Filename": "x.bin"}, 400),
        ({"X-Filename": "x.bin", "X-Total-Size": "-5"}, 400),
        ({"X-Filename": "x.bin", "X-Total-Size": "x"}, 400),
        ({"X-Filename": "x.bin", "X-Total-Size": str(SIZE + 1)}, 413),
        ({"X-Filename": "x.bin", "X-Total-Size": "9" * 300}, 413),
        ({"X-Filename": "\xff", "X-Total-Size": "5"}, 400),
        ({"X-Filename": "dir/", "X-Total-Size": "5"}, 400),
    ],
)
def test_a_creation_that_is_refused(server: Server, fields: dict[str, str], status: int) -> None:
    assert refusal(server.request("POST", UPLOAD, fields={**go_bearer(), **fields}))[0] == status


def test_chunks_that_do_not_fit(server: Server) -> None:
    upload = Upload(server, 10)
    for number, body, status in (
        (1, b"x" * 10, 400),
        (0, b"x" * 9, 400),
        (0, b"x" * 11, 413),
        (0, b"", 400),
        (10**30, b"x" * 10, 413),
    ):
        assert refusal(upload.bring(number, body))[0] == status, number
    for named in ("x", "-1", ""):
        answer = server.request("POST", UPLOAD, fields=upload.fields(named), body=b"x" * 10)
        assert refusal(answer)[0] == 400
    for body in (b"x" * 9, b"x" * 11):
        fields = {**upload.fields(0), "Transfer-Encoding": "chunked"}
        with Wire(server) as client:
            client.send(serving.head("POST", UPLOAD, fields) + languages.chunked(body))
            assert client.expect().status in {400, 413}
    assert upload.status()["chunks"] == 0
    assert upload.bring(0).status == 200
    upload.check()


def test_a_chunk_that_breaks_off_is_sent_again(server: Server) -> None:
    upload = Upload(server, 10)
    with Wire(server) as client:
        client.send(serving.head("POST", UPLOAD, upload.fields(0), 10) + b"wrong")
        client.finish()
        assert refusal(client.expect()) == (400, "body_incomplete")
    assert upload.status()["uploaded_bytes"] == 0
    assert upload.bring(0).status == 200
    upload.check()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("DELETE", UPLOAD), ("PATCH", UPLOAD), ("HEAD", UPLOAD), ("GET", UPLOAD)),
        *(("POST", STATUS), ("PUT", STATUS), ("DELETE", STATUS)),
    ],
)
def test_methods_that_the_doors_do_not_take(server: Server, method: str, path: str) -> None:
    fields = {**go_bearer(), "X-Filename": "never.bin", "X-Total-Size": "0"}
    answer = server.request(method, path, fields=fields)
    assert answer.status == 405
    assert answer.fields["allow"]
    assert not (server.storage / "upload/never.bin").exists()


def test_an_upload_of_another_kind_is_no_chunked_one(server: Server) -> None:
    """Ids look alike; whose they are does not."""
    url = languages.create(server, 10)
    name = url.rpartition("/")[2]
    fields = {**languages.ALICE, "X-Upload-Session-ID": name, "X-Chunk-Number": "0"}
    assert server.request("POST", UPLOAD, fields=fields, body=b"x" * 10).status == 404
    assert server.request("GET", f"{STATUS}?session_id={name}", fields=languages.ALICE).status == 404
    chunked = Upload(server, 10)
    assert languages.patch(server, f"/files/{chunked.id}", 0, b"x").status == 404


def test_of_two_files_of_one_name_the_first_is_kept(server: Server) -> None:
    one = Upload(server, 10)
    other = Upload(server, 10, name=one.name)
    assert one.bring(0).status == 200
    assert refusal(other.bring(0)) == (409, "exists")
    one.check()


def test_one_chunk_at_a_time_if_the_site_says_so(tmp_path: Path) -> None:
    rest = languages.CONFIG + "[uploads]\nconcurrent_chunk_uploads = false\n"
    with serving.running(tmp_path, rest=rest, server=SERVER) as server:
        upload = Upload(server, SIZE)
        fields = {**upload.fields(0), "Expect": "100-continue"}
        with Wire(server) as client:
            client.send(serving.head("POST", UPLOAD, fields, upload.chunk))
            assert client.expect().status == 100
            assert refusal(upload.bring(1)) == (503, "busy")
            client.send(upload.piece(0))
            assert client.expect().status == 200
        for number in range(1, upload.count):
            assert upload.bring(number).status == 200
        upload.check()


def test_the_doors_can_be_shut(tmp_path: Path) -> None:
    rest = languages.CONFIG + "[uploads]\nchunked_uploads_enabled = false\n"
    with serving.running(tmp_path, rest=rest, server=SERVER) as server:
        fields = {**go_bearer(), "X-Filename": "x.bin", "X-Total-Size": "5"}
        assert server.request("POST", UPLOAD, fields=fields).status in {404, 405}
        assert server.request("GET", f"{STATUS}?session_id={'0' * 32}").status == 404
