"""Names that no file system can hold are stored, found and told whole, through every door."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import languages
import pytest
import serving
from languages import ALICE, PART, TUS

from hmacfs.auth import keyring, metronome
from hmacfs.model import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

DELETE_SECRET = "kT4vX9qLm2Wz7RbN8dYc3HfJ6sPaG5uE1oQi0MtC"
CONFIG = f"""
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token", "jwt"]
delete_secret = "{DELETE_SECRET}"
[[endpoint]]
prefix = "/go/"
protocols = ["gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""
BODY = b"hello"
NAMES = [
    "ж" * 130 + ".pdf",
    "a" * 256,
    "文" * 255 + ".tar.gz",
    "n" * 3000 + ".txt",
    f"x~{'0' * 64}.pdf",  # as a shortened one looks
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("long"), rest=CONFIG) as server:
        yield server


def told_name(answer: Answer) -> str:
    return unquote(answer.fields["content-disposition"].partition("filename*=UTF-8''")[2])


def check(server: Server, target: str, name: str) -> None:
    """The file at `target` is BODY, and is called `name`."""
    for method in ("GET", "HEAD", "GET", "GET"):  # the third may be answered from memory
        answer = server.request(method, target)
        assert (answer.status, answer.fields["content-length"]) == (200, str(len(BODY)))
        assert told_name(answer) == name
    assert answer.body == BODY
    ranged = server.request("GET", target, fields={"Range": "bytes=1-2"})
    assert (ranged.status, ranged.body) == (206, BODY[1:3])
    assert all(len(part.encode()) <= 255 for file in server.files() for part in file.split("/"))


@pytest.mark.parametrize("name", NAMES)
def test_a_slot(server: Server, name: str) -> None:
    rel = serving.fresh(name)
    assert server.put(rel, BODY).status == 201
    assert server.put(rel, b"other").status == 409
    target = f"/upload/{quote(rel)}"
    check(server, target, name)
    assert told_name(server.request("GET", f"/download{target}")) == name
    sign = metronome.message_delete(rel, Secret(DELETE_SECRET.encode()))
    token = keyring.sign(Secret(serving.SECRET.encode()), sign).hex()
    assert server.request("DELETE", f"{target}?token={token}").status == 204
    assert server.request("GET", target).status == 404


@pytest.mark.parametrize("name", NAMES[:-2])
def test_a_slot_that_is_resumed(server: Server, name: str) -> None:
    rel = serving.fresh(name)
    target = serving.signed(rel, len(BODY))
    begun = server.request("PUT", target, fields={"Content-Range": "bytes 0-1/5"}, body=BODY[:2])
    assert begun.status == 204
    assert server.request("HEAD", target).fields["upload-offset"] == "2"
    more = {**PART, "Upload-Offset": "2", "Upload-Complete": "?1"}
    assert server.request("PATCH", target, fields=more, body=BODY[2:]).status == 201
    check(server, f"/upload/{quote(rel)}", name)


@pytest.mark.parametrize("name", NAMES[:-2])
def test_a_jwt(server: Server, name: str) -> None:
    rel = serving.fresh(name)
    target, token = serving.bearer(rel, len(BODY))
    assert server.request("PUT", target, fields={"Authorization": token}, body=BODY).status == 201
    check(server, target, name)


@pytest.mark.parametrize("name", NAMES)
def test_tus(server: Server, name: str) -> None:
    told = {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}
    url = languages.create(
        server, len(BODY), holds=languages.holder(), **{"Upload-Metadata": told["Upload-Metadata"]}
    )
    done = languages.patch(server, url, 0, BODY)
    assert done.fields["content-location"] == f"{url}/{quote(name)}"
    check(server, done.fields["content-location"], name)
    lead = server.request("GET", url)
    assert (lead.status, lead.fields["location"]) == (307, done.fields["content-location"])
    assert (
        server.request("HEAD", url, fields={**TUS, **ALICE}).fields["content-location"]
        == lead.fields["location"]
    )
    assert server.request("DELETE", url, fields={**TUS, **ALICE}).status == 204
    assert server.request("GET", lead.fields["location"]).status == 404


@pytest.mark.parametrize("name", [*NAMES[:-2], f"y~{'1' * 64}.pdf"])
def test_a_form(server: Server, name: str) -> None:
    form = (
        f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + BODY
        + b"\r\n--cut--\r\n"
    )
    fields = {**languages.go_bearer(), "Content-Type": "multipart/form-data; boundary=cut"}
    answer = server.request("POST", "/upload", fields=fields, body=form)
    assert json.loads(answer.body)["filename"] == name
    check(server, f"/go/{quote(name)}", name)
    assert server.request("POST", "/upload", fields=fields, body=form.replace(BODY, b"other")).status == 409


@pytest.mark.parametrize("name", NAMES[:-2])
def test_the_go_servers_put(server: Server, name: str) -> None:
    rel = serving.fresh(name)
    answer = server.request("PUT", f"/go/{quote(rel)}", fields=languages.go_bearer(), body=BODY)
    assert json.loads(answer.body)["filename"] == name
    check(server, f"/go/{quote(rel)}", name)
    assert server.request("GET", json.loads(answer.body)["url"]).body == BODY


@pytest.mark.parametrize("name", NAMES[:-2])
def test_the_go_servers_chunks(server: Server, name: str) -> None:
    rel = serving.fresh(name)
    query = serving.signed(rel, len(BODY)).partition("?")[2]
    typed = {"Content-Type": "application/octet-stream"}
    begin = {**typed, "X-Filename": rel.encode().decode("latin-1"), "X-Total-Size": str(len(BODY))}
    begun = json.loads(server.request("POST", f"/chunked-upload?{query}", fields=begin).body)
    session = {"X-Upload-Session-ID": begun["session_id"], "X-Chunk-Number": "0"}
    done = json.loads(server.request("POST", f"/chunked-upload?{query}", fields=session, body=BODY).body)
    assert (done["completed"], done["filename"]) == (True, name)
    check(server, f"/upload/{quote(rel)}", name)


def test_a_long_folder(server: Server) -> None:
    rel = f"{'ж' * 200}/{'ж' * 130}.txt"
    assert server.put(rel, BODY).status == 201
    check(server, f"/upload/{quote(rel)}", "ж" * 130 + ".txt")
