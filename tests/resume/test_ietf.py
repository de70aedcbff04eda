"""Resumable Uploads for HTTP: its requests, its statuses, and who may get a 104."""

from __future__ import annotations

import base64
import hashlib

import http_sf
import pytest
from asking import head
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors, resume
from hmacfs.errors import Refusal, Refused
from hmacfs.http import reply as replies
from hmacfs.resume import Action, UploadLimits, UploadProtocol, UploadRequest, UploadState, ietf

INTEROP = "Upload-Draft-Interop-Version: 8"
PART = "Content-Type: application/partial-upload"
LIMITS = UploadLimits(most=1000, chunk=100, lives_s=60.0)
LIMIT = ("Upload-Limit", "max-size=1000, max-append-size=100, max-age=60")
CREATE = "POST /files/"
APPEND = "PATCH /files/a"


def state(offset: int = 5, length: int | None = 11, *, complete: bool = False) -> UploadState:
    return UploadState(offset=offset, length=length, complete=complete, expires=0.0)


def ask(version: int | None = 8) -> UploadRequest:
    return UploadRequest(protocol=UploadProtocol.IETF, act=Action.APPEND, offset=7, version=version)


@pytest.mark.parametrize(
    ("line", "fields", "body", "want"),
    [
        # act, offset, length, ends
        (CREATE, ["Upload-Complete: ?1"], 100, (Action.CREATE, 0, 100, True)),
        (CREATE, ["Upload-Complete: ?1", "Upload-Length: 100"], 100, (Action.CREATE, 0, 100, True)),
        (CREATE, ["Upload-Complete: ?0"], 0, (Action.CREATE, 0, None, False)),
        (CREATE, ["Upload-Complete: ?0"], None, (Action.CREATE, 0, None, False)),
        (CREATE, ["Upload-Complete: ?0", "Upload-Length: 100"], 25, (Action.CREATE, 0, 100, False)),
        (CREATE, ["Upload-Complete: ?0", "Upload-Length: 25"], 25, (Action.CREATE, 0, 25, False)),
        (CREATE, ["Upload-Complete: ?1", "Transfer-Encoding: chunked"], None, (Action.CREATE, 0, None, True)),
        ("PUT /u/a/b", ["Upload-Complete: ?1"], 0, (Action.CREATE, 0, 0, True)),
        ("PUT /u/a/b", ["Upload-Complete: ?1;a=b", "Upload-Length: -1"], 5, (Action.CREATE, 0, 5, True)),
        (APPEND, [PART, "Upload-Offset: 50", "Upload-Complete: ?1"], 50, (Action.APPEND, 50, 100, True)),
        (APPEND, [PART, "Upload-Offset: 50", "Upload-Complete: ?0"], 25, (Action.APPEND, 50, None, False)),
        (APPEND, [PART, "Upload-Offset: 100", "Upload-Complete: ?1"], 0, (Action.APPEND, 100, 100, True)),
        ("HEAD /files/a", [], None, (Action.STATUS, 0, None, None)),
        ("GET /files/a", [], None, (Action.STATUS, 0, None, None)),
        ("DELETE /files/a", [], None, (Action.CANCEL, 0, None, None)),
    ],
)
def test_requests(
    line: str, fields: list[str], body: int | None, want: tuple[Action, int, int | None, bool | None]
) -> None:
    asked = ietf.read(head(line, INTEROP, *fields, body=body))
    assert (asked.act, asked.offset, asked.length, asked.ends) == want
    assert (asked.protocol, asked.version) == (UploadProtocol.IETF, 8)


@pytest.mark.parametrize(
    ("line", "fields", "refusal"),
    [
        (CREATE, [], errors.UPLOAD_FIELD),
        (CREATE, ["Upload-Complete: 1"], errors.UPLOAD_FIELD),
        (CREATE, ["Upload-Complete: ?1", "Upload-Length: 51"], errors.UPLOAD_LENGTH),
        (CREATE, ["Upload-Complete: ?1", "Upload-Length: 49"], errors.UPLOAD_LENGTH),
        (CREATE, ["Upload-Complete: ?0", "Upload-Length: 49"], errors.UPLOAD_LENGTH),
        (CREATE, ["Upload-Complete: ?1", "Content-Range: bytes 0-49/50"], errors.RANGE_ON_PUT),
        (CREATE, ["Upload-Complete: ?1", "Upload-Metadata: a !"], errors.UPLOAD_METADATA),
        (APPEND, ["Upload-Offset: 5", "Upload-Complete: ?1"], errors.PATCH_TYPE),
        (APPEND, [PART, "Upload-Complete: ?1"], errors.UPLOAD_FIELD),
        (APPEND, [PART, "Upload-Complete: ?1", "Upload-Offset: -5"], errors.UPLOAD_FIELD),
        (APPEND, [PART, "Upload-Complete: ?1", "Upload-Offset: 5.0"], errors.UPLOAD_FIELD),
        (APPEND, [PART, "Upload-Complete: ?1", "Upload-Offset: ?1"], errors.UPLOAD_FIELD),
        (APPEND, [PART, "Upload-Offset: 5"], errors.UPLOAD_FIELD),
        (
            APPEND,
            [PART, "Upload-Offset: 5", "Upload-Complete: ?1", "Upload-Length: 54"],
            errors.UPLOAD_LENGTH,
        ),
        ("OPTIONS /files/a", [], errors.METHOD_NOT_ALLOWED),
    ],
)
def test_requests_that_are_refused(line: str, fields: list[str], refusal: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        ietf.read(head(line, *fields, body=50))
    assert caught.value.refusal is refusal


def test_a_body_that_no_file_holds() -> None:
    with pytest.raises(Refused) as caught:
        ietf.read(head(APPEND, PART, "Upload-Offset: 1", "Upload-Complete: ?1", body=2**63 - 1))
    assert caught.value.refusal is errors.TOO_LARGE


@pytest.mark.parametrize("version", [6, 7, 8])
def test_a_104_names_the_clients_own_version(version: int) -> None:
    asked = ietf.read(head("HEAD /files/a", f"Upload-Draft-Interop-Version: {version}"))
    age = "expires" if version == 6 else "max-age"
    assert resume.interim(asked, "/files/a", None, LIMITS) == (
        b"HTTP/1.1 104 Upload Resumption Supported\r\n"
        b"Upload-Draft-Interop-Version: %d\r\n"
        b"Location: /files/a\r\n"
        b"Upload-Limit: max-size=1000, max-append-size=100, %b=60\r\n"
        b"\r\n" % (version, age.encode())
    )
    assert resume.interim(asked, None, 50, LIMITS) == (
        b"HTTP/1.1 104 Upload Resumption Supported\r\n"
        b"Upload-Draft-Interop-Version: %d\r\n"
        b"Upload-Offset: 50\r\n"
        b"\r\n" % version
    )


@pytest.mark.parametrize("sent", ["", "3", "5", "9", "-8", "8.0", '"8"', "?1", "8, 8", "eight"])
def test_nobody_else_gets_a_104(sent: str) -> None:
    asked = ietf.read(head("HEAD /files/a", f"Upload-Draft-Interop-Version: {sent}"))
    assert resume.interim(asked, "/files/a", 0, LIMITS) is None


def test_no_104_without_a_version_or_to_http_1_0() -> None:
    for asked in (head("HEAD /files/a"), head("HEAD /files/a", INTEROP, version="1.0")):
        assert resume.interim(ietf.read(asked), "/files/a", 0, LIMITS) is None


def test_a_location_cannot_split_a_104() -> None:
    with pytest.raises(ValueError, match="control"):
        resume.interim(ask(), "/files/a\r\nX: y", None, LIMITS)


def test_answers() -> None:
    reply = ietf.created(ask(), state(0, None), "/files/a", LIMITS)
    assert reply.status == 201
    assert reply.fields == [
        ("Location", "/files/a"),
        ("Upload-Offset", "0"),
        ("Upload-Complete", "?0"),
        LIMIT,
    ]
    reply = ietf.appended(ask(), state(11, 11), LIMITS)  # all bytes, but it was not said that this is the end
    assert reply.status == 204
    assert reply.fields == [("Upload-Offset", "11"), ("Upload-Complete", "?0"), LIMIT]
    reply = ietf.appended(ask(), state(11, 11, complete=True), LIMITS)
    assert reply.status == 201
    assert reply.fields == [("Upload-Offset", "11"), ("Upload-Complete", "?1")]
    reply = ietf.cancelled(ask())
    assert (reply.status, reply.fields) == (204, [])


def test_what_head_tells() -> None:
    reply = ietf.told(ask(), state(5, 11), LIMITS)
    assert reply.status == 204
    assert reply.fields == [
        ("Upload-Offset", "5"),
        ("Upload-Complete", "?0"),
        ("Upload-Length", "11"),
        LIMIT,
        ("Cache-Control", "no-store"),
    ]
    assert "Upload-Length" not in dict(ietf.told(ask(), state(5, None), LIMITS).fields)


def test_a_finished_slot_says_so() -> None:
    fields = ietf.finished_fields(ask(), state(11, 11, complete=True))
    assert fields == [("Upload-Offset", "11"), ("Upload-Complete", "?1")]


def test_digests_of_the_file_and_of_the_body() -> None:
    whole, body = hashlib.sha256(b"hello").digest(), hashlib.sha512(b"lo").digest()
    asked = ietf.read(
        head(
            CREATE,
            "Upload-Complete: ?0",
            "Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:, md5=:YQ==:",
            f"Content-Digest: sha-512=:{base64.b64encode(body).decode()}:",
        )
    )
    assert [(c.algorithm, c.value, c.whole) for c in asked.checksums] == [
        ("sha256", whole, True),
        ("sha512", body, False),
    ]
    assert resume.checksum_wrong(asked).refusal.status == 400


def test_a_wrong_offset_is_a_problem_that_tells_the_right_one() -> None:
    refused = resume.offset_wrong(ask(), state(5, 11))
    reply = replies.refusal(refused, None, "r1")
    assert reply.status == 409
    assert {("Upload-Offset", "5"), ("Upload-Complete", "?0")} <= set(reply.fields)
    (body,) = reply.pieces
    assert isinstance(body, bytes)
    for part in (
        b'"type": "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"',
        b'"expected-offset": 5',
        b'"provided-offset": 7',
    ):
        assert part in body


def test_lengths_that_disagree_are_a_problem() -> None:
    reply = replies.refusal(resume.length_wrong(ask(), state(5, 11)), None, "r1")
    assert reply.status == 400
    (body,) = reply.pieces
    assert isinstance(body, bytes)
    assert b"https://iana.org/assignments/http-problem-types#inconsistent-upload-length" in body


def test_a_file_too_large_is_told_the_limit() -> None:
    refused = resume.too_large(ask(), LIMITS)
    assert refused.refusal.status == 413
    assert refused.fields == (LIMIT,)


@given(most=st.integers(0, 2**63 - 1), chunk=st.integers(1, 2**63 - 1), lives_s=st.floats(0, 1e18))
def test_a_limit_is_a_dictionary_of_integers(most: int, chunk: int, lives_s: float) -> None:
    name, value = ietf.limit(UploadLimits(most=most, chunk=chunk, lives_s=lives_s), 8)
    assert name == "Upload-Limit"
    members = http_sf.parse(value.encode(), tltype="dictionary")
    assert isinstance(members, dict)
    assert list(members) == ["max-size", "max-append-size", "max-age"]


@pytest.mark.parametrize(("yes", "value"), [(True, "?1"), (False, "?0")])
def test_whether_an_upload_is_complete(*, yes: bool, value: str) -> None:
    assert ietf.complete(yes) == ("Upload-Complete", value)
