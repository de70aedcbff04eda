"""tus 1.0.0 against the running server: each request, answer and status, also of its extensions."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import json
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import languages
import pytest
import serving
from languages import ALICE, BOB, LIMIT, OCTETS, TUS, create, file_of, offset, patch, refusal
from wire import Wire

from hmacfs._descriptor import Descriptor
from hmacfs.store.sessions.session_file import SessionFile, SessionPhase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

BODY = secrets.token_bytes(100_000)
ORIGIN = {"Origin": "https://chat.example"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with languages.served(tmp_path_factory.mktemp("tus")) as server:
        yield server


def ask(server: Server, method: str, url: str, *, body: bytes = b"", **fields: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return server.request(method, url, fields={**TUS, **ALICE, **named}, body=body)


def metadata(**values: bytes) -> str:
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in values.items())


def checksum(body: bytes, algorithm: str = "sha1") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, body).digest()).decode()}"


def repr_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def expires_in(answer: Answer) -> float:
    return email.utils.parsedate_to_datetime(answer.fields["upload-expires"]).timestamp() - time.time()


def test_what_is_spoken_here(server: Server) -> None:
    for path in ("/files/", "/files/" + "a" * 32, "/upload/x/y"):
        answer = server.request("OPTIONS", path)
        assert answer.status in {200, 204}
        assert answer.fields["tus-version"] == "1.0.0"
        assert answer.fields["tus-max-size"] == str(LIMIT)
        assert answer.fields["tus-checksum-algorithm"] == "sha1,sha256"
        assert set(answer.fields["tus-extension"].split(",")) == {
            *("creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum"),
            *("checksum-trailer", "termination", "concatenation"),
        }


def test_an_upload_in_pieces(server: Server) -> None:
    told = metadata(filename="été.png".encode(), filetype=b"image/png")
    answer = ask(server, "POST", "/files/", Upload_Length=str(len(BODY)), Upload_Metadata=told)
    assert (answer.status, answer.fields["tus-resumable"]) == (201, "1.0.0")
    assert 86_000 < expires_in(answer) <= 86_401
    url = answer.fields["location"]
    answer = ask(server, "HEAD", url)
    assert (answer.status, answer.fields["upload-offset"]) == (200, "0")
    assert answer.fields["upload-length"] == str(len(BODY))
    assert answer.fields["upload-metadata"] == told
    assert answer.fields["cache-control"] == "no-store"
    assert "upload-defer-length" not in answer.fields
    for at in range(0, len(BODY), 30_000):
        piece = BODY[at : at + 30_000]
        answer = patch(server, url, at, piece)
        assert (answer.status, answer.fields["upload-offset"]) == (204, str(at + len(piece)))
        assert ("upload-expires" in answer.fields) == (at + len(piece) < len(BODY))
    assert answer.fields["content-location"].endswith("/%C3%A9t%C3%A9.png")
    got = server.request("GET", answer.fields["content-location"])
    assert (got.status, got.fields["content-type"], got.body) == (200, "image/png", BODY)
    lead = server.request("GET", url)
    assert (lead.status, lead.fields["location"]) == (307, answer.fields["content-location"])
    after = ask(server, "HEAD", url)
    assert (after.status, after.fields["upload-offset"]) == (200, str(len(BODY)))


def test_an_unfinished_upload_leads_nowhere(server: Server) -> None:
    assert server.request("GET", create(server, 5)).status == 404


def test_creation_with_upload(server: Server) -> None:
    part = ask(server, "POST", "/files/", body=b"hello", Upload_Length="11", **one(OCTETS))
    assert (part.status, part.fields["upload-offset"]) == (201, "5")
    last = patch(server, part.fields["location"], 5, b" world")
    assert file_of(server, last) == b"hello world"
    whole = ask(server, "POST", "/files/", body=b"hello", Upload_Length="5", **one(OCTETS))
    assert (whole.status, whole.fields["upload-offset"]) == (201, "5")
    assert file_of(server, whole) == b"hello"


def one(fields: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in fields.items()}


def test_nothing_at_all_is_complete_at_once(server: Server) -> None:
    answer = ask(server, "POST", "/files/", Upload_Length="0")
    assert (answer.status, answer.fields["upload-offset"]) == (201, "0")
    assert file_of(server, answer) == b""


def test_a_deferred_length(server: Server) -> None:
    answer = ask(server, "POST", "/files/", Upload_Defer_Length="1")
    url = answer.fields["location"]
    answer = ask(server, "HEAD", url)
    assert answer.fields["upload-defer-length"] == "1"
    assert "upload-length" not in answer.fields
    assert patch(server, url, 0, b"hello").status == 204
    assert patch(server, url, 5, b" ", Upload_Length="11").status == 204
    assert ask(server, "HEAD", url).fields["upload-length"] == "11"
    assert refusal(patch(server, url, 6, b"w", Upload_Length="12")) == (400, "upload_length")
    assert file_of(server, patch(server, url, 6, b"world", Upload_Length="11")) == b"hello world"


def test_a_deferred_length_has_the_same_limit(server: Server) -> None:
    url = ask(server, "POST", "/files/", Upload_Defer_Length="1").fields["location"]
    status, code = refusal(patch(server, url, 0, b"", Upload_Length=str(LIMIT + 1)))
    assert (status, code) == (413, "too_large")
    fields = {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, fields) + languages.chunked(bytes(LIMIT + 1), 1 << 16))
        assert client.expect().status == 413
    assert offset(server, url) <= LIMIT


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400),
        ({"Upload-Defer-Length": "2"}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "9" * 400}, 413),
        ({"Upload-Length": str(LIMIT + 1)}, 413),
        ({"Upload-Length": "5", "Upload-Metadata": "a b c"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="}, 400),
        ({"Upload-Concat": "final;"}, 400),
        ({"Upload-Concat": "whole", "Upload-Length": "5"}, 400),
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "5"}, 412),
    ],
)
def test_a_creation_that_is_refused(server: Server, fields: dict[str, str], status: int) -> None:
    answer = server.request("POST", "/files/", fields={**TUS, **ALICE, **fields})
    assert refusal(answer)[0] == status
    if status == 412:
        assert answer.fields["tus-version"] == "1.0.0"
    if fields.get("Upload-Length") == str(LIMIT + 1):
        assert answer.fields["tus-max-size"] == str(LIMIT)


@pytest.mark.parametrize("version", ["0.2.2", "1.0.1", "", "x"])
def test_another_version_changes_nothing(server: Server, version: str) -> None:
    url = create(server, 5)
    for answer in (
        patch(server, url, 0, b"hello", Tus_Resumable=version),
        ask(server, "DELETE", url, Tus_Resumable=version),
    ):
        assert refusal(answer) == (412, "tus_version")
        assert answer.fields["tus-version"] == "1.0.0"
    assert offset(server, url) == 0


def test_another_language_altogether(server: Server) -> None:
    """A page that forgets Tus-Resumable is told what is spoken."""
    answer = server.request("POST", "/files/", fields={**ALICE, "Upload-Length": "5"})
    assert refusal(answer) == (412, "tus_version")
    assert answer.fields["tus-version"] == "1.0.0"


def test_an_empty_metadata_field_is_none(server: Server) -> None:
    """tuspy sends one."""
    url = create(server, 5, Upload_Metadata="")
    assert "upload-metadata" not in ask(server, "HEAD", url).fields


def test_a_wrong_offset(server: Server) -> None:
    url = create(server, 11)
    assert patch(server, url, 0, b"hello").status == 204
    for at in (0, 4, 6, 11):
        answer = patch(server, url, at, b"x" * min(5, 11 - at))
        assert refusal(answer) == (409, "upload_offset")
        problem = json.loads(answer.body)
        assert problem["type"] == f"{languages.REGISTERED}mismatching-upload-offset"
        assert (problem["expected-offset"], problem["provided-offset"]) == (5, at)
    assert offset(server, url) == 5


@pytest.mark.parametrize("value", ["", "-5", "x", "5.0", None])
def test_an_offset_that_is_none(server: Server, value: str | None) -> None:
    url = create(server, 11)
    fields = {**TUS, **ALICE, **OCTETS} | ({} if value is None else {"Upload-Offset": value})
    assert refusal(server.request("PATCH", url, fields=fields, body=b"hello")) == (400, "upload_field")
    assert offset(server, url) == 0


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", None])
def test_a_wrong_type(server: Server, kind: str | None) -> None:
    url = create(server, 11)
    fields = {**TUS, **ALICE, "Upload-Offset": "0"} | ({} if kind is None else {"Content-Type": kind})
    answer = server.request("PATCH", url, fields=fields, body=b"hello")
    assert refusal(answer) == (415, "patch_type")
    assert "application/offset+octet-stream" in answer.fields["accept-patch"]
    assert offset(server, url) == 0


def test_bytes_beyond_the_length_are_never_stored(server: Server) -> None:
    url = create(server, 5)
    assert refusal(patch(server, url, 0, b"hello!")) == (413, "size_mismatch")
    assert offset(server, url) == 0
    fields = {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, fields) + languages.chunked(b"hello!", 2))
        assert refusal(client.expect()) == (413, "size_mismatch")
    at = offset(server, url)
    assert at <= 5
    assert file_of(server, patch(server, url, at, b"hello"[at:])) == b"hello"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_checksum(server: Server, algorithm: str) -> None:
    url = create(server, 11)
    assert patch(server, url, 0, b"hello", Upload_Checksum=checksum(b"hello", algorithm)).status == 204
    answer = patch(server, url, 5, b" w0rld", Upload_Checksum=checksum(b" world", algorithm))
    assert refusal(answer) == (460, "checksum_mismatch")
    assert offset(server, url) == 5
    answer = patch(server, url, 5, b" world", Upload_Checksum=checksum(b" world", algorithm))
    assert file_of(server, answer) == b"hello world"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("md5 1B2M2Y8AsgTpgAmY7PhCfg==", "checksum_unknown"),
        ("sha1", "upload_field"),
        ("sha1 ?", "upload_field"),
    ],
)
def test_a_checksum_that_is_none(server: Server, sent: str, code: str) -> None:
    url = create(server, 11)
    assert refusal(patch(server, url, 0, b"hello", Upload_Checksum=sent)) == (400, code)
    assert offset(server, url) == 0


@pytest.mark.parametrize(
    ("trailer", "status", "stands"),
    [
        (f"Upload-Checksum: {checksum(b'hello')}\r\n", 204, 5),
        (f"Upload-Checksum: {checksum(b'hello', 'sha256')}\r\n", 204, 5),
        (f"Upload-Checksum: {checksum(b'other')}\r\n", 460, 0),
        ("Upload-Checksum: sha1 ?\r\n", 400, 0),
        ("", 400, 0),
    ],
)
def test_a_checksum_after_the_body(server: Server, trailer: str, status: int, stands: int) -> None:
    url = create(server, 11)
    fields = {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, {**fields, "Trailer": "Upload-Checksum"}))
        client.send(languages.chunked(b"hello", 2, trailer))
        assert client.expect().status == status
    assert offset(server, url) == stands


def test_a_checksummed_body_that_breaks_off_leaves_nothing(server: Server) -> None:
    url = create(server, 11)
    fields = {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0", "Upload-Checksum": checksum(b"hello world")}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, fields, 11) + b"hello")
        client.finish()
        assert refusal(client.expect()) == (400, "body_incomplete")
    assert offset(server, url) == 0


def test_what_came_of_a_broken_body_stays(server: Server) -> None:
    url = create(server, 11)
    with Wire(server) as client:
        client.send(
            serving.head("PATCH", url, {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0"}, 11) + b"hello"
        )
        client.finish()
        assert refusal(client.expect()) == (400, "body_incomplete")
    assert offset(server, url) == 5


def test_an_upload_is_taken_back(server: Server) -> None:
    url = create(server, 11)
    assert ask(server, "DELETE", url).status == 204
    for method in ("HEAD", "DELETE"):
        answer = ask(server, method, url)
        assert answer.status == 404
        assert "upload-offset" not in answer.fields
    assert refusal(patch(server, url, 0, b"hello")) == (404, "not_found")


def test_a_complete_upload_is_taken_back_with_its_file(server: Server) -> None:
    url = create(server, 5)
    place = patch(server, url, 0, b"hello").fields["content-location"]
    assert ask(server, "DELETE", url).status == 204
    assert server.request("GET", place).status == 404


def concat(
    server: Server, *urls: str, told: str = "", holds: dict[str, str] = ALICE, **fields: str
) -> Answer:
    final = f"final;{' '.join(urls)}"
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    sent = {**TUS, **holds, "Upload-Concat": final, "Upload-Metadata": told, **named}
    return server.request("POST", "/files/", fields=sent)


def piece(server: Server, body: bytes, *, length: int | None = None) -> str:
    url = create(server, len(body) if length is None else length, Upload_Concat="partial")
    assert ask(server, "HEAD", url).fields["upload-concat"] == "partial"
    assert patch(server, url, 0, body).status == 204
    return url


def test_partial_uploads_become_one_in_the_order_asked_for(server: Server) -> None:
    one, two, three = (piece(server, body) for body in (b"hello", b" ", b"world"))
    told = metadata(filename=b"joined.txt", filetype=b"text/plain")
    absolute = f"http://localhost{three}"
    answer = concat(server, one, two, absolute, told=told)
    assert (answer.status, answer.fields["upload-offset"]) == (201, "11")
    assert file_of(server, answer) == b"hello world"
    final = answer.fields["location"]
    head = ask(server, "HEAD", final)
    assert head.fields["upload-concat"] == f"final;{one} {two} {absolute}"
    assert head.fields["upload-length"] == head.fields["upload-offset"] == "11"
    assert refusal(patch(server, final, 11, b"")) == (403, "upload_final")
    assert ask(server, "HEAD", one).status == 404


def test_what_cannot_be_joined(server: Server) -> None:
    whole, whole_too = piece(server, b"hello"), piece(server, b"world")
    unfinished = piece(server, b"wor", length=5)
    ordinary = create(server, 5)
    foreign = create(server, 0, holds=BOB, Upload_Concat="partial")
    for urls in (
        (whole, unfinished),
        (whole, whole),
        (whole, ordinary),
        (whole, "/elsewhere/x"),
        ("/files/",),
    ):
        assert refusal(concat(server, *urls)) == (400, "upload_parts"), urls
    assert refusal(concat(server, whole, foreign)) == (404, "not_found")
    assert refusal(concat(server, whole, "/files/" + "0" * 32)) == (404, "not_found")
    answer = concat(server, whole_too, whole)  # none of that has harmed them
    assert file_of(server, answer) == b"worldhello"


def test_a_join_asked_for_again_has_the_same_answer(server: Server) -> None:
    """Its answer may have been lost, and the parts are no more."""
    one, two = piece(server, b"hello "), piece(server, b"world")
    before = server.files()
    first = concat(server, one, two, told=metadata(filename=b"a.txt"))
    stored = set(server.files()) - set(before)
    assert len(stored) == 1
    for told in (metadata(filename=b"a.txt"), metadata(filename=b"b.txt")):
        again = concat(server, one, two, told=told)
        for field in ("location", "content-location", "upload-offset"):
            assert (again.status, again.fields[field]) == (201, first.fields[field])
    assert file_of(server, again) == b"hello world"
    assert set(server.files()) - set(before) == stored
    assert refusal(concat(server, two, one)) == (404, "not_found")
    assert refusal(concat(server, one, two, holds=BOB)) == (404, "not_found")
    assert ask(server, "DELETE", first.fields["location"]).status == 204
    assert refusal(concat(server, one, two)) == (404, "not_found")


def test_a_join_goes_on_where_it_was_when_its_worker_was_killed(server: Server) -> None:
    urls = [piece(server, b"hello "), piece(server, b"world")]
    uploads = server.storage / ".hmacfs/uploads"
    ids = tuple(url.rpartition("/")[2] for url in urls)
    parts = {path: path.read_bytes() for path in uploads.iterdir() if path.name.startswith(ids)}
    first = concat(server, *urls)
    # What is then left behind: the parts, and the beginning of the file, in capitals to tell it from theirs.
    for path, data in parts.items():
        path.write_bytes(data)
    final = uploads / first.fields["location"].rpartition("/")[2]
    final.write_bytes(b"HELLO W")
    with SessionFile(Descriptor(os.open(f"{final}.note", os.O_RDWR))) as note:
        note.set_state(SessionPhase.OPEN)
    server.storage.joinpath(first.fields["content-location"].removeprefix("/")).unlink()
    again = concat(server, *urls)
    assert (again.status, again.fields["location"]) == (201, first.fields["location"])
    assert file_of(server, again) == b"HELLO World"
    assert [path for path in parts if path.exists()] == []


def test_joins_at_the_same_time_store_one_file(server: Server) -> None:
    urls = [piece(server, BODY) for _ in range(5)]
    before = server.files()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: concat(server, *urls), range(4)))
    # Who was overtaken while at it hears so; a busy server is asked again.
    assert {answer.status for answer in answers} <= {201, 409, 503}
    last = concat(server, *urls)
    assert file_of(server, last) == BODY * 5
    assert {answer.fields["location"] for answer in answers if answer.status == 201} <= {
        last.fields["location"]
    }
    assert len(set(server.files()) - set(before)) == 1


def test_the_digest_of_a_joined_file_is_compared(server: Server) -> None:
    urls = [piece(server, b"hello "), piece(server, b"world")]
    before = server.files()
    assert refusal(concat(server, *urls, Repr_Digest=repr_digest(b"hello"))) == (400, "digest_mismatch")
    assert server.files() == before
    # The parts are still there, for whoever knows better.
    answer = concat(server, *urls, Repr_Digest=repr_digest(b"hello world"))
    assert (answer.status, file_of(server, answer)) == (201, b"hello world")


def test_a_joined_file_has_the_limit_of_any_other(server: Server) -> None:
    half = bytes(LIMIT // 2 + 1)
    urls = [piece(server, half) for _ in range(2)]
    assert refusal(concat(server, *urls)) == (413, "too_large")


def test_who_may(server: Server) -> None:
    """Another subject, another endpoint, no token, a token of a slot: nothing of it changes a thing."""
    url = create(server, 11)
    assert patch(server, url, 0, b"hello").status == 204
    elsewhere = url.replace("/files/", "/others/")
    slot = {"Authorization": serving.bearer("a/b", 5)[1]}
    strangers: dict[int, list[tuple[str, dict[str, str]]]] = {
        401: [(url, {})],
        403: [(url, slot), (url, {"Authorization": "Bearer x.y.z"}), (url, languages.holder(ttl_s=-120))],
        404: [(url, BOB), (elsewhere, ALICE), ("/files/" + "0" * 32, ALICE)],
    }
    for status, requests in strangers.items():
        for target, holds in requests:
            for method in ("HEAD", "DELETE"):
                assert server.request(method, target, fields={**TUS, **holds}).status == status
            assert patch(server, target, 5, b" world", holds=holds).status == status
    answer = server.request("HEAD", url, fields=TUS)
    assert answer.fields["www-authenticate"] == "Bearer"
    assert offset(server, url) == 5
    renewed = languages.holder(ttl_s=600)
    assert file_of(server, patch(server, url, 5, b" world", holds=renewed)) == b"hello world"


def test_what_the_token_says_goes_before_what_the_client_says(server: Server) -> None:
    holds = languages.holder(max_size=10, name="theirs.txt", type="text/plain")
    told = metadata(filename=b"mine.html", filetype=b"text/html")
    fields = {**TUS, **holds, "Upload-Length": "11"}
    answer = server.request("POST", "/files/", fields=fields)
    assert refusal(answer) == (413, "too_large")
    assert answer.fields["tus-max-size"] == "10"
    url = create(server, 5, holds=holds, Upload_Metadata=told)
    place = patch(server, url, 0, b"hello", holds=holds).fields["content-location"]
    got = server.request("GET", place)
    assert (place.rpartition("/")[2], got.fields["content-type"]) == ("theirs.txt", "text/plain")


@pytest.mark.parametrize("name", [b"../../../etc/passwd", b"..\\..\\x.txt", b"/etc/passwd", b"a/b/c.txt"])
def test_a_path_in_a_name_is_not_followed(server: Server, name: bytes) -> None:
    url = create(server, 5, Upload_Metadata=metadata(filename=name))
    place = patch(server, url, 0, b"hello").fields["content-location"]
    assert place.startswith(f"{url}/")
    assert place.count("/") == 3


@pytest.mark.parametrize("name", [b"..", b".", b"\0", b"a\nb", b"x" * 5000, b"a/"])
def test_a_name_that_can_be_none(server: Server, name: bytes) -> None:
    before = server.files()
    answer = ask(server, "POST", "/files/", Upload_Length="5", Upload_Metadata=metadata(filename=name))
    assert answer.status == 400
    assert server.files() == before


def test_a_method_is_overridden(server: Server) -> None:
    url = create(server, 5)
    fields = {**OCTETS, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    answer = ask(server, "POST", url, body=b"hello", **one(fields))
    assert (answer.status, answer.fields["upload-offset"]) == (204, "5")
    assert ask(server, "POST", url, X_HTTP_Method_Override="DELETE").status == 204


def test_methods_that_nothing_takes(server: Server) -> None:
    url = create(server, 5)
    for method, target in (("POST", url), ("PATCH", "/files/"), ("DELETE", "/files/"), ("HEAD", "/files/")):
        fields = {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0", "Upload-Length": "5"}
        answer = server.request(method, target, fields=fields)
        assert answer.status == 405, (method, target)
        assert answer.fields["allow"]
        assert method == "HEAD" or method not in answer.fields["allow"].split(", ")


def test_what_a_page_of_another_origin_may(server: Server) -> None:
    asked = "authorization, content-type, tus-resumable, upload-offset, upload-length, upload-metadata"
    for method in ("POST", "PATCH", "HEAD", "DELETE"):
        sent = {**ORIGIN, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": asked}
        answer = server.request("OPTIONS", "/files/", fields=sent)
        assert method in answer.fields["access-control-allow-methods"].split(", ")
        granted = answer.fields["access-control-allow-headers"].lower().split(", ")
        assert set(asked.split(", ")) <= set(granted)
    url = create(server, 5)
    with Wire(server) as client:
        requests = [("HEAD", url, {}), ("PATCH", url, {"Upload-Offset": "9"}), ("HEAD", url + "0", {})]
        for method, target, more in requests:
            client.send(serving.head(method, target, {**TUS, **ALICE, **OCTETS, **ORIGIN, **more}))
            answer = client.expect(method)
            assert answer.fields["access-control-allow-origin"] == "*"
            if target == url:
                exposed = answer.fields["access-control-expose-headers"].split(", ")
                wanted = {"Upload-Offset", "Location", "Upload-Length", "Tus-Resumable", "Upload-Expires"}
                assert wanted <= set(exposed)


def test_every_answer_says_the_version(server: Server) -> None:
    url = create(server, 5)
    for answer in (
        ask(server, "HEAD", url),
        patch(server, url, 3, b"x"),
        patch(server, url + "0", 0, b"x"),
        ask(server, "POST", "/files/", Upload_Length="x"),
        ask(server, "DELETE", url),
    ):
        assert answer.fields["tus-resumable"] == "1.0.0"


def test_a_connection_goes_on_after_refusals(server: Server) -> None:
    url = create(server, 11)
    every = {**TUS, **ALICE, **OCTETS}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, {**every, "Upload-Offset": "0"}, 5) + b"hello")
        client.send(
            serving.head("HEAD", url, every) + serving.head("PATCH", url, {**every, "Upload-Offset": "9"})
        )
        client.send(serving.head("PATCH", url, {**every, "Upload-Offset": "5"}, 6) + b" world")
        assert client.expect().status == 204
        assert client.expect("HEAD").fields["upload-offset"] == "5"
        assert refusal(client.expect()) == (409, "upload_offset")
        assert client.expect().fields["upload-offset"] == "11"


def test_continue_is_said_when_the_body_is_wanted(server: Server) -> None:
    url = create(server, 5)
    every = {**TUS, **ALICE, **OCTETS, "Expect": "100-continue"}
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, {**every, "Upload-Offset": "3"}, 2))
        assert refusal(client.expect()) == (409, "upload_offset")
    with Wire(server) as client:
        client.send(serving.head("PATCH", url, {**every, "Upload-Offset": "0"}, 5))
        assert client.expect().status == 100
        client.send(b"hello")
        assert client.expect().status == 204
