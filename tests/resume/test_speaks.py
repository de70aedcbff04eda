"""Which language a request is written in, and what all its answers carry."""

from __future__ import annotations

import pytest
from asking import head
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import resume
from hmacfs.errors import Refused
from hmacfs.http import cors
from hmacfs.model import Head
from hmacfs.resume import Action, UploadLimits, UploadProtocol, UploadState, tus

TUS = "Tus-Resumable: 1.0.0"
INTEROP = "Upload-Draft-Interop-Version: 8"
LIMITS = UploadLimits(most=1000, chunk=100, lives_s=60.0)
FIELDS = [
    b"Content-Range",
    b"Content-Type",
    b"Content-Digest",
    b"Repr-Digest",
    b"Trailer",
    b"Tus-Resumable",
    b"Upload-Checksum",
    b"Upload-Complete",
    b"Upload-Concat",
    b"Upload-Defer-Length",
    b"Upload-Draft-Interop-Version",
    b"Upload-Length",
    b"Upload-Metadata",
    b"Upload-Offset",
    b"X-Chunk-Number",
    b"X-Filename",
    b"X-HTTP-Method-Override",
    b"X-Total-Size",
    b"X-Upload-Session-ID",
]
VALUES = [
    b"",
    b"0",
    b"1",
    b"5",
    b"-1",
    b"+5",
    b" 5",
    b"1.0",
    b"5;a=b",
    b"1.0.0",
    b"999999999999999",
    b"9223372036854775807",
    b"9223372036854775808",
    b"9" * 5000,
    b"\xb2",
    b"?0",
    b"?1",
    b"?2",
    b"8",
    b"final",
    b"final;",
    b"final;/a /b",
    b"partial",
    b"PATCH",
    b"get",
    b"name YQ==",
    b"name YQ==,name YQ==",
    b"name Y",
    b"sha1 Lve95gjOVATpfV8EL5X4nxwjKHE=",
    b"sha1 Lve95",
    b"md5 YQ==",
    b"Upload-Checksum",
    b"sha-256=:YQ==:",
    b"sha-256=:Y",
    b"sha-512=(1 2), sha-256",
    b"bytes 0-4/5",
    b"bytes 4-0/5",
    b"bytes */5",
    b"bytes 0-9/5",
    b"application/offset+octet-stream",
    b"application/partial-upload; a=b",
    b"0123456789abcdef" * 2,
    b"\xff\xfe",
]


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Return any request with any of the fields that the languages know."""
    fields = draw(
        st.dictionaries(
            st.sampled_from(FIELDS).map(bytes.lower), st.sampled_from(VALUES) | st.binary(max_size=20)
        )
    )
    chunked = draw(st.booleans())
    return Head(
        method=draw(st.sampled_from(["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"])),
        target=b"/",
        path=draw(st.sampled_from(["/upload/a/b", "/chunked-upload", "/upload-status"])),
        query=draw(
            st.sampled_from(["", "session_id=", f"session_id={'0' * 32}", "session_id=1&session_id=2"])
        ),
        http10=draw(st.booleans()),
        keep_alive=True,
        fields=fields,
        length=None if chunked else draw(st.sampled_from([None, 0, 5, 2**63 - 1])),
        chunked=chunked,
        expect_continue=False,
    )


@pytest.mark.parametrize(
    ("line", "fields", "protocol"),
    [
        ("PUT /upload/a/b", [], None),
        ("POST /upload", ["Content-Type: multipart/form-data; boundary=x"], None),
        ("HEAD /upload/a/b", [], None),
        ("DELETE /upload/a/b", [], None),
        ("PATCH /upload/a/b", [], None),
        ("PATCH /upload/a/b", ["Content-Type: application/json"], None),
        ("POST /files/", [TUS], UploadProtocol.TUS),
        ("PATCH /files/a", [TUS], UploadProtocol.TUS),
        ("HEAD /files/a", [TUS], UploadProtocol.TUS),
        ("DELETE /files/a", [TUS], UploadProtocol.TUS),
        ("POST /files/", ["Tus-Resumable: 0.2.2"], UploadProtocol.TUS),  # to be refused with 412
        ("PATCH /files/a", ["Content-Type: application/offset+octet-stream"], UploadProtocol.TUS),  # same
        ("PUT /upload/a/b", [TUS], None),
        ("GET /files/a", [TUS], None),
        ("OPTIONS /files/a", [TUS, INTEROP], None),
        ("POST /files/", ["Upload-Complete: ?0"], UploadProtocol.IETF),
        ("PUT /upload/a/b", ["Upload-Complete: ?1", INTEROP], UploadProtocol.IETF),
        ("PUT /upload/a/b", ["Upload-Complete: yes", INTEROP], None),  # a malformed field is not there
        ("PUT /upload/a/b", ["Upload-Complete: ?1, ?0"], None),
        ("PUT /upload/a/b", [INTEROP], None),
        ("PATCH /files/a", ["Upload-Complete: ?1"], UploadProtocol.IETF),  # to be refused with 415
        ("PATCH /files/a", ["Content-Type: Application/Partial-Upload"], UploadProtocol.IETF),
        ("HEAD /files/a", [INTEROP], UploadProtocol.IETF),
        ("DELETE /files/a", [INTEROP], UploadProtocol.IETF),
        ("PUT /upload/a/b", ["Content-Range: bytes 0-0/1"], UploadProtocol.RANGE),
        ("POST /upload", ["Content-Range: bytes 0-0/1"], None),
        ("POST /chunked-upload", [], UploadProtocol.CHUNKED),
        ("PUT /chunked-upload", [], UploadProtocol.CHUNKED),
        ("PUT /upload/chunked-upload", ["X-Upload-Session-ID: 1"], None),
    ],
)
def test_the_language_of_a_request(line: str, fields: list[str], protocol: UploadProtocol | None) -> None:
    assert resume.detect(head(line, *fields)) is protocol


@given(asked=heads())
def test_any_request_is_read_or_refused(asked: Head) -> None:
    protocol = resume.detect(asked)
    for one in UploadProtocol if protocol is None else [protocol]:
        try:
            ask = resume.LANGUAGES[one].read(asked)
        except Refused:
            continue
        assert ask.protocol is one
        assert 0 <= ask.offset <= 2**63 - 1
        assert ask.length is None or 0 <= ask.length <= 2**63 - 1
        if (
            ask.length is not None
            and ask.act in (Action.APPEND, Action.CREATE)
            and one is not UploadProtocol.CHUNKED
        ):
            assert ask.offset + (asked.length or 0) <= ask.length


@given(asked=heads())
def test_all_languages_can_answer_whatever_they_read(asked: Head) -> None:
    state = UploadState(offset=3, length=5, complete=False, expires=0.0)
    for protocol in UploadProtocol:
        try:
            ask = resume.LANGUAGES[protocol].read(asked)
        except Refused:
            continue
        language = resume.LANGUAGES[protocol]
        answers = [
            language.created(ask, state, "/files/a", LIMITS),
            language.appended(ask, state, LIMITS),
            language.told(ask, state, LIMITS),
            language.cancelled(ask),
        ]
        assert {answer.status for answer in answers} <= {200, 201, 204}
        assert all(text.isascii() for answer in answers for field in answer.fields for text in field)
        assert resume.interim(ask, "/files/a", 3, LIMITS) is None or (
            protocol is UploadProtocol.IETF and not asked.http10 and ask.version in {6, 7, 8}
        )


def test_every_answer_in_tus_says_so() -> None:
    assert resume.common_fields(head("PATCH /files/a", TUS)) == [("Tus-Resumable", "1.0.0")]
    assert resume.common_fields(head("PATCH /files/a", "Tus-Resumable: 2.0.0")) == [
        ("Tus-Resumable", "1.0.0")
    ]
    assert resume.common_fields(head("HEAD /files/a", INTEROP)) == []
    assert resume.common_fields(head("HEAD /files/a")) == []


def test_a_page_may_see_the_fields_of_its_language_and_a_download_pays_for_none() -> None:
    origin = "Origin: https://chat.example"
    assert cors.RESUMABLE in resume.common_fields(head("HEAD /files/a", TUS, origin))
    assert cors.RESUMABLE in resume.common_fields(head("HEAD /files/a", INTEROP, origin))
    assert resume.common_fields(head("GET /files/a", TUS, origin)) == []
    assert resume.common_fields(head("PUT /files/a", origin)) == []
    seen = {name.lower() for name in cors.RESUMABLE[1].split(", ")}
    answers = [name.lower() for name, _ in resume.options(LIMITS, joins=True)]
    assert seen.issuperset(answers)


def test_what_options_tells() -> None:
    assert resume.options(LIMITS, joins=True) == [
        ("Tus-Resumable", "1.0.0"),
        ("Tus-Version", "1.0.0"),
        ("Tus-Extension", f"{tus.EXTENSIONS},{tus.JOINING}"),
        ("Tus-Max-Size", "1000"),
        ("Tus-Checksum-Algorithm", "sha1,sha256"),
        ("Upload-Limit", "max-size=1000, max-append-size=100, max-age=60"),
        ("Accept-Patch", "application/offset+octet-stream, application/partial-upload"),
    ]
