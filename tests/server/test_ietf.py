"""Resumable Uploads for HTTP (draft 12) against the running server, at an endpoint's own prefix."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import serving
from languages import ALICE, BOB, LIMIT, PART, append, digest, file_of, refusal
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

BODY = secrets.token_bytes(50_000)
HALF = 20_123
VERSION = {"Upload-Draft-Interop-Version": "8"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with languages.served(tmp_path_factory.mktemp("ietf")) as server:
        yield server


def begin(
    server: Server, body: bytes = b"", *, ends: bool = False, method: str = "POST", **more: str
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    fields = {**ALICE, "Upload-Complete": f"?{ends:d}", "Content-Length": str(len(body)), **named}
    return server.request(method, "/files/", fields=fields, body=body)


def begun(server: Server, body: bytes = b"", **more: str) -> str:
    answer = begin(server, body, ends=False, method="POST", **more)
    assert (answer.status, answer.fields["upload-complete"]) == (201, "?0")
    return answer.fields["location"]


def look(server: Server, url: str, holds: dict[str, str] = ALICE) -> Answer:
    return server.request("HEAD", url, fields={**holds, **VERSION})


def test_discovery(server: Server) -> None:
    limit = server.request("OPTIONS", "/files/").fields["upload-limit"]
    assert f"max-size={LIMIT}" in limit.split(", ")
    assert any(member.startswith("max-age=") for member in limit.split(", "))


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_in_parts(server: Server, method: str) -> None:
    answer = begin(server, BODY[:100], method=method, Upload_Length=str(len(BODY)), Content_Type="image/png")
    assert (answer.status, answer.fields["upload-offset"]) == (201, "100")
    assert "max-append-size" in answer.fields["upload-limit"]
    url = answer.fields["location"]
    told = look(server, url)
    assert (told.status, told.fields["upload-offset"], told.fields["upload-complete"]) == (204, "100", "?0")
    assert (told.fields["upload-length"], told.fields["cache-control"]) == (str(len(BODY)), "no-store")
    assert "upload-limit" in told.fields
    part = append(server, url, 100, BODY[100:20_000], ends=False)
    assert (part.status, part.fields["upload-complete"], part.fields["upload-offset"]) == (204, "?0", "20000")
    last = append(server, url, 20_000, BODY[20_000:], ends=True)
    assert (last.status, last.fields["upload-complete"]) == (201, "?1")
    assert last.fields["upload-offset"] == str(len(BODY))
    assert file_of(server, last) == BODY
    assert server.request("GET", last.fields["content-location"]).fields["content-type"] == "image/png"
    told = look(server, url)
    assert (told.fields["upload-complete"], told.fields["upload-offset"]) == ("?1", str(len(BODY)))
    again = append(server, url, len(BODY), b"", ends=True)  # the answer was lost
    assert (again.status, again.fields["upload-complete"]) == (201, "?1")
    assert append(server, url, len(BODY), b"", ends=False).status == 201


def test_an_upload_in_one(server: Server) -> None:
    answer = begin(server, BODY, ends=True)
    assert (answer.status, answer.fields["upload-complete"]) == (201, "?1")
    assert file_of(server, answer) == BODY


def test_an_upload_of_unknown_length_ends_when_it_is_said(server: Server) -> None:
    url = begun(server, b"hello")
    assert "upload-length" not in look(server, url).fields
    assert append(server, url, 5, b" world", ends=False).fields["upload-complete"] == "?0"
    assert file_of(server, append(server, url, 11, b"", ends=True)) == b"hello world"


@pytest.mark.parametrize("version", ["6", "7", "8"])
def test_104_comes_to_those_who_ask(server: Server, version: str) -> None:
    fields = {**ALICE, "Upload-Draft-Interop-Version": version, "Upload-Complete": "?1"}
    with Wire(server) as client:
        client.send(serving.head("POST", "/files/", fields, 5))
        interim = client.expect()
        assert (interim.status, interim.fields["upload-draft-interop-version"]) == (104, version)
        assert "upload-limit" in interim.fields
        client.send(b"hello")
        final = client.expect()
        assert (final.status, final.fields["location"]) == (201, interim.fields["location"])
        assert file_of(server, serving.resolved("/files/", final)) == b"hello"


@pytest.mark.parametrize("version", [None, "5", "9", "x", "8.0", '"8"'])
def test_104_comes_to_nobody_else(server: Server, version: str | None) -> None:
    fields = {**ALICE, "Upload-Complete": "?1"}
    if version is not None:
        fields["Upload-Draft-Interop-Version"] = version
    with Wire(server) as client:
        client.send(serving.head("POST", "/files/", fields, 5) + b"hello")
        assert client.expect().status == 201


def test_104_never_comes_to_http_1_0(server: Server) -> None:
    head = serving.head("POST", "/files/", {**ALICE, **VERSION, "Upload-Complete": "?1"}, 5)
    with Wire(server) as client:
        client.send(head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
        assert client.expect().status == 201


def test_104_comes_beside_100_and_never_for_a_part(server: Server) -> None:
    expects = {**ALICE, **VERSION, "Expect": "100-continue"}
    with Wire(server) as client:
        client.send(serving.head("POST", "/files/", {**expects, "Upload-Complete": "?0"}, 5))
        assert [client.expect().status for _ in range(2)] == [100, 104]
        client.send(b"hello")
        url = serving.resolved("/files/", client.expect()).fields["location"]
        fields = {**expects, **PART, "Upload-Complete": "?1", "Upload-Offset": "5"}
        client.send(serving.head("PATCH", url, fields, 6))
        assert client.expect().status == 100
        client.send(b" world")
        assert client.expect().status == 201


def test_a_wrong_offset(server: Server) -> None:
    url = begun(server, b"hello")
    for at in (0, 6):
        answer = append(server, url, at, b"x", ends=False)
        assert refusal(answer) == (409, "upload_offset")
        assert (answer.fields["upload-offset"], answer.fields["upload-complete"]) == ("5", "?0")
        problem = json.loads(answer.body)
        assert problem["type"] == f"{languages.REGISTERED}mismatching-upload-offset"
        assert (problem["expected-offset"], problem["provided-offset"]) == (5, at)


def test_lengths_that_disagree(server: Server) -> None:
    for length, body, ends in (("4", b"hello", False), ("6", b"hello", True), ("4", b"hello", True)):
        assert refusal(begin(server, body, ends=ends, Upload_Length=length)) == (400, "upload_length")
    url = begun(server, b"hello", Upload_Length="11")
    for body, ends, length in ((b" world!", False, "11"), (b" wor", True, "11"), (b" wor", False, "12")):
        answer = append(server, url, 5, body, ends=ends, Upload_Length=length)
        assert refusal(answer) == (400, "upload_length"), body
        assert json.loads(answer.body)["type"] == f"{languages.REGISTERED}inconsistent-upload-length"
        assert look(server, url).fields["upload-offset"] == "5"


@pytest.mark.parametrize("piece", [2, 1000])
def test_bytes_beyond_the_length_are_never_stored(server: Server, piece: int) -> None:
    """Also where only the body itself tells how long it is."""
    url = begun(server, b"hello", Upload_Length="11")
    fields = {**ALICE, **PART, "Upload-Offset": "5", "Upload-Complete": "?0", "Transfer-Encoding": "chunked"}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, fields) + languages.chunked(b" world, and more", piece))
        answer = client.expect()
    assert refusal(answer) == (400, "upload_length")
    assert json.loads(answer.body)["type"] == f"{languages.REGISTERED}inconsistent-upload-length"
    told = look(server, url).fields
    at = int(told["upload-offset"])
    assert (at == 11) == (told["upload-complete"] == "?1")
    assert at <= 11
    assert file_of(server, append(server, url, at, b"hello world"[at:], ends=True)) == b"hello world"


def test_a_malformed_length_is_one_that_was_not_sent(server: Server) -> None:
    for length in ("eleven", "-11", "11.0", '"11"'):
        url = begun(server, b"hello", Upload_Length=length)
        assert "upload-length" not in look(server, url).fields


@pytest.mark.parametrize(("door", "ends"), [("/files/", "?0"), ("/files/", "?1"), ("slot", "?1")])
def test_413_tells_the_limit_even_if_the_body_was_begun(server: Server, door: str, ends: str) -> None:
    """Of a body whose length nobody knew, and of one that is not what the token says."""
    target, fields = door, {**ALICE, "Transfer-Encoding": "chunked"}
    if door == "slot":
        target, value = serving.bearer(serving.fresh(), 5)
        fields = {"Authorization": value, "Content-Type": "application/octet-stream", "Content-Length": "6"}
    with Wire(server) as client:
        client.send(serving.head("PUT", target, {**fields, "Upload-Complete": ends}))
        client.send(b"123456" if door == "slot" else languages.chunked(bytes(LIMIT + 1), 1 << 16))
        answer = client.expect()
    assert answer.status == 413
    assert f"max-size={LIMIT}" in answer.fields["upload-limit"]


def test_too_large(server: Server) -> None:
    answer = begin(server, Upload_Length=str(LIMIT + 1))
    assert refusal(answer) == (413, "too_large")
    assert f"max-size={LIMIT}" in answer.fields["upload-limit"]
    url = begun(server, b"hello")
    head = serving.head(
        "PATCH", url, {**ALICE, **PART, "Upload-Offset": "5", "Upload-Complete": "?0"}, LIMIT - 4
    )
    with Wire(server) as client:
        client.send(head)
        answer = client.expect()
    assert refusal(answer) == (413, "too_large")
    assert f"max-size={LIMIT}" in answer.fields["upload-limit"]
    assert look(server, url).fields["upload-offset"] == "5"


def test_a_part_without_its_fields(server: Server) -> None:
    url = begun(server, b"hello")
    sound = {**ALICE, **PART, "Upload-Offset": "5", "Upload-Complete": "?0"}
    for name, status in (("Upload-Offset", 400), ("Upload-Complete", 400), ("Content-Type", 415)):
        fields = {other: value for other, value in sound.items() if other != name}
        assert server.request("PATCH", url, fields=fields, body=b"x").status == status
    for name, value in (("Upload-Offset", "five"), ("Upload-Offset", "-5"), ("Upload-Complete", "yes")):
        assert server.request("PATCH", url, fields={**sound, name: value}, body=b"x").status == 400
    assert look(server, url).fields["upload-offset"] == "5"


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_digests_of_a_part(server: Server, algorithm: str) -> None:
    url = begun(server, b"hello", Content_Digest=digest(b"hello", algorithm))
    answer = append(server, url, 5, b" w0rld", ends=True, Content_Digest=digest(b" world", algorithm))
    assert refusal(answer) == (400, "digest_mismatch")
    assert json.loads(answer.body)["type"].startswith(languages.REGISTERED)
    assert look(server, url).fields["upload-offset"] == "5"
    answer = append(server, url, 5, b" world", ends=True, Content_Digest=digest(b" world", algorithm))
    assert file_of(server, answer) == b"hello world"


def test_a_digest_of_the_whole(server: Server) -> None:
    url = begun(server, b"hello", Repr_Digest=digest(b"hello world"))
    assert file_of(server, append(server, url, 5, b" world", ends=True)) == b"hello world"
    url = begun(server, b"hello", Repr_Digest=digest(b"hello world"))
    before = server.files()
    assert refusal(append(server, url, 5, b" w0rld", ends=True)) == (400, "digest_mismatch")
    assert look(server, url).status == 404  # nothing can make it that file any more
    answer = append(server, begun(server, b"he"), 2, b"llo", ends=True, Repr_Digest=digest(b"other"))
    assert refusal(answer) == (400, "digest_mismatch")
    assert server.files() == before
    unknown = append(server, begun(server, b"he"), 2, b"llo", ends=True, Repr_Digest="md5=:AAAA:, x=y")
    assert unknown.status == 201


def test_a_complete_upload_with_a_digest_is_told_again(server: Server) -> None:
    url = begun(server, b"hello", Repr_Digest=digest(b"hello world"))
    for at, body in ((5, b" world"), (11, b"")):
        answer = append(server, url, at, body, ends=True, Repr_Digest=digest(b"hello world"))
        assert (answer.status, answer.fields["upload-complete"]) == (201, "?1")


def test_a_cancelled_upload(server: Server) -> None:
    url = begun(server, b"hello")
    assert server.request("DELETE", url, fields=ALICE).status == 204
    assert look(server, url).status == 404
    assert append(server, url, 5, b" world", ends=True).status == 404


def test_somebody_elses_upload_is_none(server: Server) -> None:
    url = begun(server, b"hello")
    assert look(server, url, BOB).status == 404
    assert append(server, url, 5, b"x", ends=True, holds=BOB).status == 404
    assert server.request("DELETE", url, fields=BOB).status == 404
    assert look(server, url).fields["upload-offset"] == "5"


def test_a_head_stops_who_writes_and_tells_what_stays(server: Server) -> None:
    url = begun(server, Upload_Length="100")
    fields = {**ALICE, **PART, "Upload-Offset": "0", "Upload-Complete": "?1"}
    with Wire(server) as stalled:
        stalled.send(serving.head("PATCH", url, {**fields, "Expect": "100-continue"}, 100))
        assert stalled.expect().status == 100
        stalled.send(b"x" * 40)
        told = int(look(server, url).fields["upload-offset"])
        stalled.send(b"y" * 60)
        assert refusal(stalled.expect()) == (409, "upload_taken_over")
    assert int(look(server, url).fields["upload-offset"]) == told
    assert append(server, url, told, b"z" * (100 - told), ends=True).status == 201


@pytest.mark.parametrize("worker", [0, 1], ids=["same", "other"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_a_newer_request_ends_the_older(server: Server, method: str, worker: int) -> None:
    """On whichever worker: what it is told is so, and not another byte of the older one lands."""
    url = begun(server, Upload_Length=str(len(BODY)))
    fields = {**ALICE, **PART, "Upload-Complete": "?1"}
    first, other = server.workers[0], server.workers[worker]
    with resuming.connect_to(server, first) as old, resuming.connect_to(server, other) as new:
        old.sendall(serving.head("PATCH", url, {**fields, "Upload-Offset": "0"}, len(BODY)) + BODY[:HALF])
        resuming.wait_stored(server.storage, HALF)
        sent = {**fields, "Upload-Offset": str(HALF)} if method == "PATCH" else ALICE
        body = BODY[HALF:] if method == "PATCH" else b""
        new.sendall(serving.head(method, url, {**sent, **VERSION}, len(body)) + body)
        answer = serving.resolved(url, serving.read_answer(new, method))
        old.sendall(bytes(len(BODY) - HALF))
        assert refusal(serving.read_answer(old)) == (409, "upload_taken_over")
    if method == "HEAD":
        assert (answer.status, answer.fields["upload-offset"]) == (204, str(HALF))
        answer = append(server, url, HALF, BODY[HALF:], ends=True)
    if method == "DELETE":
        assert answer.status == 204
        assert look(server, url).status == 404
    else:
        assert file_of(server, answer) == BODY


def test_metadata_of_tus_js_client_names_the_file(server: Server) -> None:
    name = base64.b64encode(b"photo.jpg").decode()
    kind = base64.b64encode(b"image/jpeg").decode()
    url = begun(server, Upload_Metadata=f"filename {name},filetype {kind}")
    place = append(server, url, 0, b"hello", ends=True).fields["content-location"]
    assert place.endswith("/photo.jpg")
    assert server.request("GET", place).fields["content-type"] == "image/jpeg"
