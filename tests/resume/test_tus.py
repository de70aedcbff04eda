"""tus 1.0.0: its requests, its statuses and the traps its clients set."""

from __future__ import annotations

import base64
import hashlib

import pytest
from asking import head
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors, resume
from hmacfs.errors import Refusal, Refused
from hmacfs.http.digests import Checksum
from hmacfs.resume import Action, UploadLimits, UploadProtocol, UploadRequest, UploadState, tus

TUS = "Tus-Resumable: 1.0.0"
OCTETS = "Content-Type: application/offset+octet-stream"
SHA1 = base64.b64encode(hashlib.sha1(b"hello").digest()).decode()
LIMITS = UploadLimits(most=1000, chunk=100, lives_s=60.0)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def state(
    offset: int = 5, length: int | None = 11, *, complete: bool = False, parts: tuple[str, ...] = ()
) -> UploadState:
    return UploadState(offset=offset, length=length, complete=complete, expires=784111777.0, parts=parts)


def create(*fields: str, body: int | None = 0) -> UploadRequest:
    return tus.read(head("POST /files/", TUS, *fields, body=body))


def append(*fields: str, body: int | None = 6) -> UploadRequest:
    return tus.read(head("PATCH /files/a", TUS, OCTETS, *fields, body=body))


def ask(act: Action = Action.APPEND) -> UploadRequest:
    return UploadRequest(protocol=UploadProtocol.TUS, act=act, offset=7)


def test_the_protocols_first_example() -> None:
    asked = append("Upload-Offset: 70", body=30)
    assert (asked.protocol, asked.act, asked.offset, asked.length) == (
        UploadProtocol.TUS,
        Action.APPEND,
        70,
        None,
    )
    reply = tus.appended(asked, state(100, 100, complete=True), LIMITS)
    assert (reply.status, reply.fields) == (204, [("Upload-Offset", "100")])
    reply = tus.told(asked, state(70, 100), LIMITS)
    assert reply.status == 200
    assert reply.fields == [
        ("Upload-Offset", "70"),
        ("Upload-Expires", DATE),
        ("Upload-Length", "100"),
        ("Cache-Control", "no-store"),
    ]


@pytest.mark.parametrize("version", [None, "", "1.0", "0.2.2", "1.0.0, 1.0.0"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "HEAD", "DELETE"])
def test_another_version_is_refused_with_ours(method: str, version: str | None) -> None:
    fields = [] if version is None else [f"Tus-Resumable: {version}"]
    with pytest.raises(Refused) as caught:
        tus.read(head(f"{method} /files/a", *fields))
    assert caught.value.refusal.status == 412
    assert ("Tus-Version", "1.0.0") in caught.value.fields


@pytest.mark.parametrize(
    ("line", "override", "act"),
    [
        ("POST /files/a", "PATCH", Action.APPEND),
        ("POST /files/a", "head", Action.STATUS),
        ("POST /files/a", "DELETE", Action.CANCEL),
        ("DELETE /files/a", "PATCH", Action.CANCEL),
        ("HEAD /files/a", "DELETE", Action.STATUS),
    ],
)
def test_a_method_is_overridden_on_post_only(line: str, override: str, act: Action) -> None:
    fields = [f"X-HTTP-Method-Override: {override}", "Upload-Offset: 0", OCTETS]
    assert tus.read(head(line, TUS, *fields, body=1)).act is act


@pytest.mark.parametrize("override", ["GET", "PUT", "OPTIONS", "", "PATCH, DELETE"])
def test_no_other_method_can_be_meant(override: str) -> None:
    with pytest.raises(Refused) as caught:
        tus.read(head("POST /files/", TUS, f"X-HTTP-Method-Override: {override}", "Upload-Length: 1"))
    assert caught.value.refusal is errors.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ([], errors.UPLOAD_FIELD),  # neither
        (["Upload-Length: 5", "Upload-Defer-Length: 1"], errors.UPLOAD_FIELD),  # both
        (["Upload-Defer-Length: 0"], errors.UPLOAD_FIELD),
        (["Upload-Defer-Length: 2"], errors.UPLOAD_FIELD),
        (["Upload-Length: -1"], errors.UPLOAD_FIELD),
        (["Upload-Length: +1"], errors.UPLOAD_FIELD),
        (["Upload-Length: 1e3"], errors.UPLOAD_FIELD),
        (["Upload-Length: "], errors.UPLOAD_FIELD),
        (["Upload-Length: 1", "Upload-Length: 1"], errors.UPLOAD_FIELD),
        (["Upload-Length: 9223372036854775808"], errors.TOO_LARGE),
        ([f"Upload-Length: {'9' * 5000}"], errors.TOO_LARGE),
        (["Upload-Concat: partial"], errors.UPLOAD_FIELD),
        (["Upload-Concat: final"], errors.UPLOAD_FIELD),
        (["Upload-Concat: final;"], errors.UPLOAD_FIELD),
        (["Upload-Concat: whole", "Upload-Length: 1"], errors.UPLOAD_FIELD),
        (["Upload-Concat: final;/files/a", "Upload-Length: 1"], errors.UPLOAD_FIELD),
        (["Upload-Concat: final;/files/a", "Upload-Defer-Length: 1"], errors.UPLOAD_FIELD),
        (["Upload-Concat: final;/files/\xe9"], errors.UPLOAD_FIELD),
        (["Upload-Length: 5", "Upload-Metadata: name"], None),
        (["Upload-Length: 5", "Upload-Metadata: name YQ==,name Yg=="], errors.UPLOAD_METADATA),
    ],
)
def test_creations(fields: list[str], refusal: Refusal | None) -> None:
    if refusal is None:
        assert create(*fields).act is Action.CREATE
    else:
        with pytest.raises(Refused) as caught:
            create(*fields)
        assert caught.value.refusal is refusal


def test_lengths_of_creations() -> None:
    assert create("Upload-Length: 0").length == 0
    assert create("Upload-Length: 9223372036854775807").length == 2**63 - 1
    assert create("Upload-Length: 100", body=None).length == 100
    assert create("Upload-Defer-Length: 1").length is None


def test_an_empty_metadata_field_is_none() -> None:
    assert create("Upload-Length: 1", "upload-metadata: ").metadata is None  # as tuspy sends it
    text = "filename d29ybGQ=,is_confidential"
    assert create("Upload-Length: 1", f"Upload-Metadata: {text}").metadata == text


def test_creation_with_upload() -> None:
    asked = create("Upload-Length: 100", OCTETS, f"Upload-Checksum: sha1 {SHA1}", body=5)
    assert (asked.act, asked.offset, asked.length) == (Action.CREATE, 0, 100)
    assert asked.checksums[0].algorithm == "sha1"
    reply = tus.created(asked, state(5, 100), "/files/a", LIMITS)
    assert reply.status == 201
    assert reply.fields == [("Location", "/files/a"), ("Upload-Offset", "5"), ("Upload-Expires", DATE)]


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        (["Upload-Length: 100"], errors.PATCH_TYPE),
        (["Upload-Length: 100", "Content-Type: image/png"], errors.PATCH_TYPE),
        (["Upload-Length: 4", OCTETS], errors.SIZE_MISMATCH),
        (["Upload-Concat: final;/files/a", OCTETS], errors.UPLOAD_FIELD),
    ],
)
def test_a_body_of_a_creation_that_is_refused(fields: list[str], refusal: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        create(*fields, body=5)
    assert caught.value.refusal is refusal


def test_uploads_to_be_joined() -> None:
    asked = create("Upload-Concat: partial", "Upload-Length: 5")
    assert (asked.partial, asked.parts) == (True, ())
    asked = create("Upload-Concat: final;/files/a https://files.example.org/files/b", body=None)
    assert (asked.partial, asked.parts) == (False, ("/files/a", "https://files.example.org/files/b"))
    assert asked.checksums == ()
    told = dict(tus.told(ask(Action.STATUS), state(parts=asked.parts), LIMITS).fields)
    assert told["Upload-Concat"] == "final;/files/a https://files.example.org/files/b"


def test_the_digest_of_what_is_joined() -> None:
    digest = hashlib.sha256(b"hello").digest()
    told = f"Repr-Digest: sha-256=:{base64.b64encode(digest).decode()}:, md5=:AAAA:"
    wanted = (Checksum(algorithm="sha256", value=digest, whole=True),)
    assert create("Upload-Concat: final;/files/a", told, body=None).checksums == wanted
    assert create("Upload-Concat: final;/files/a", "Repr-Digest: nonsense", body=None).checksums == ()


def test_what_head_tells() -> None:
    known = state(length=None)
    known.partial = True
    known.metadata = "filename d29ybGQ="
    told = dict(tus.told(ask(Action.STATUS), known, LIMITS).fields)
    assert told["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in told
    assert told["Upload-Concat"] == "partial"
    assert told["Upload-Metadata"] == "filename d29ybGQ="
    assert told["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ([OCTETS], errors.UPLOAD_FIELD),
        ([OCTETS, "Upload-Offset: -1"], errors.UPLOAD_FIELD),
        ([OCTETS, "Upload-Offset: 9223372036854775807"], errors.TOO_LARGE),  # and six bytes
        (["Upload-Offset: 0"], errors.PATCH_TYPE),
        (["Content-Type: application/octet-stream", "Upload-Offset: 0"], errors.PATCH_TYPE),
        ([OCTETS, "Upload-Offset: 0", "Upload-Checksum: md5 YQ=="], errors.CHECKSUM_UNKNOWN),
        ([OCTETS, "Upload-Offset: 0", "Upload-Checksum: sha1"], errors.UPLOAD_FIELD),
        ([OCTETS, "Upload-Offset: 0", "Upload-Checksum: sha1 YQ"], errors.UPLOAD_FIELD),
        ([OCTETS, "Upload-Offset: 0", "Upload-Checksum: sha1 Y Q=="], errors.UPLOAD_FIELD),
        ([OCTETS, "Upload-Offset: 5", "Upload-Length: 10"], errors.SIZE_MISMATCH),
        ([OCTETS, "Upload-Offset: 5", "Upload-Length: ten"], errors.UPLOAD_FIELD),
    ],
)
def test_appends_that_are_refused(fields: list[str], refusal: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        tus.read(head("PATCH /files/a", TUS, *fields, body=6))
    assert caught.value.refusal is refusal


def test_a_wrong_type_is_told_the_right_ones() -> None:
    assert errors.PATCH_TYPE.status == 415
    assert dict(errors.PATCH_TYPE.fields)["Accept-Patch"].split(", ")[0] == tus.TYPE.decode()


def test_a_deferred_length_comes_with_a_later_append() -> None:
    assert append("Upload-Offset: 5", "Upload-Length: 11").length == 11


def test_checksums() -> None:
    asked = append("Upload-Offset: 0", f"Upload-Checksum: sha1 {SHA1}")
    (checksum,) = asked.checksums
    assert (checksum.algorithm, checksum.whole) == ("sha1", False)
    assert checksum.value == hashlib.sha1(b"hello").digest()
    assert not asked.trailer
    assert resume.checksum_wrong(asked).refusal.status == 460


@pytest.mark.parametrize(
    ("trailer", "expected"), [("Upload-Checksum", True), ("X-A, upload-checksum ", True), ("X-A", False)]
)
def test_a_checksum_may_come_as_a_trailer(trailer: str, *, expected: bool) -> None:
    asked = append("Upload-Offset: 0", "Transfer-Encoding: chunked", f"Trailer: {trailer}", body=None)
    assert asked.trailer is expected
    assert tus.checksum(f"sha1 {SHA1}".encode()).algorithm == "sha1"
    with pytest.raises(Refused) as caught:
        tus.checksum(None)
    assert caught.value.refusal is errors.UPLOAD_FIELD


@given(digest=st.binary(min_size=1, max_size=64), algorithm=st.sampled_from(tus.ALGORITHMS))
def test_a_checksum_reads_as_it_was_made(digest: bytes, algorithm: str) -> None:
    read = tus.checksum(f"{algorithm} {base64.b64encode(digest).decode()}".encode())
    assert (read.algorithm, read.value) == (algorithm, digest)


def test_no_content_to_what_is_cancelled() -> None:
    reply = tus.cancelled(ask(Action.CANCEL))
    assert (reply.status, reply.fields) == (204, [])


def test_refusals_that_need_the_state() -> None:
    offset = resume.offset_wrong(ask(), state(5, 11))
    assert offset.refusal.status == 409
    assert ("Upload-Offset", "5") in offset.fields
    beyond = resume.length_wrong(ask(), state(5, 11))
    assert beyond.refusal.status == 413
    changed = ask()
    changed.length = 12
    assert resume.length_wrong(changed, state(5, 11)).refusal.status == 400
    large = resume.too_large(ask(Action.CREATE), LIMITS)
    assert large.refusal.status == 413
    assert large.fields == (("Tus-Max-Size", "1000"),)


def test_a_finished_slot_says_the_offset() -> None:
    assert tus.finished_fields(ask(), state(11, 11, complete=True)) == [("Upload-Offset", "11")]
