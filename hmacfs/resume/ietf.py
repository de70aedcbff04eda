"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload-12): its requests read, its answers made.

Interop version 8; 6 and 7 by the same code, since every answer says both Upload-Offset and Upload-Complete,
as one or the other of them wanted. A PUT with Content-Range is answered in the same words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http import digests, lines, structured
from hmacfs.model import Reply, UploadProtocol
from hmacfs.resume import counts, media, metadata
from hmacfs.resume.requests import Action, UploadRequest

if TYPE_CHECKING:
    from hmacfs.model import Head
    from hmacfs.resume.requests import UploadLimits, UploadState

TYPE: Final = b"application/partial-upload"
VERSIONS: Final = frozenset({6, 7, 8})
"""Of Upload-Draft-Interop-Version: clients that may get a 104."""

_AGE_NAMES: Final = {6: "expires"}
"""What interop versions before 7 call the member max-age of Upload-Limit."""
_ACTS: Final = {
    "POST": Action.CREATE,
    "PUT": Action.CREATE,
    "PATCH": Action.APPEND,
    "HEAD": Action.STATUS,
    "GET": Action.STATUS,
    "DELETE": Action.CANCEL,
}
_INTERIM: Final = b"HTTP/1.1 104 Upload Resumption Supported\r\n"


def read(head: Head) -> UploadRequest:
    """Return what `head` asks for.

    Raises METHOD_NOT_ALLOWED, RANGE_ON_PUT, PATCH_TYPE, UPLOAD_FIELD if a field that must be there is not, or
    is malformed, UPLOAD_METADATA, UPLOAD_LENGTH where its own lengths disagree, and TOO_LARGE for one that no
    file has.
    """
    act = _ACTS.get(head.method)
    if act is None:
        raise Refused(errors.METHOD_NOT_ALLOWED)
    ask = UploadRequest(protocol=UploadProtocol.IETF, act=act, version=_version(head))
    if act in (Action.CREATE, Action.APPEND):
        _read_content(ask, head)
    else:
        ask.wants_sha256 = digests.wants_sha256(head.fields.get(b"want-repr-digest"))
    return ask


def interim(
    ask: UploadRequest, location: str | None, offset: int | None, limits: UploadLimits
) -> bytes | None:
    """Return a whole 104, which tells where the upload is or how far it has come; None if none may be sent.

    A client that has not named a version spoken here MUST NOT get one (the draft's note on interoperability),
    nor one of HTTP/1.0 (RFC 9110 15.2). Raises ValueError for a location that is not printable ASCII.
    """
    if ask.version is None:
        return None
    texts = [f"Upload-Draft-Interop-Version: {ask.version}"]
    if location is not None:
        texts += [f"Location: {location}", ": ".join(limit(limits, ask.version))]
    if offset is not None:
        texts.append(f"Upload-Offset: {offset}")
    return b"%b%b\r\n" % (_INTERIM, lines.encode(texts))


def created(ask: UploadRequest, state: UploadState, location: str, limits: UploadLimits) -> Reply:
    """Answer a creation: 201 with Location, and whether the file is whole."""
    fields = [("Location", location), *_progress(state), limit(limits, ask.version)]
    return Reply(status=201, code="created", fields=fields)


def appended(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:
    """Answer what was appended: 204 while more must come, 201 once the file is whole."""
    if state.complete:
        return Reply(status=201, code="created", fields=finished_fields(ask, state))
    fields = [*_progress(state), limit(limits, ask.version)]
    return Reply(status=204, code="no_content", fields=fields)


def told(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:
    """Answer how far the upload has come."""
    fields = _progress(state)
    if state.length is not None:
        fields.append(("Upload-Length", str(state.length)))
    fields += [limit(limits, ask.version), ("Cache-Control", "no-store")]
    return Reply(status=204, code="no_content", fields=fields)


def cancelled(ask: UploadRequest) -> Reply:  # noqa: ARG001 - as all languages
    """Answer DELETE."""
    return Reply(status=204, code="no_content", fields=[])


def finished_fields(ask: UploadRequest, state: UploadState) -> list[tuple[str, str]]:  # noqa: ARG001 - as all languages
    """Return what the answer of a finished upload says beside its own."""
    return _progress(state)


def complete(state: bool) -> tuple[str, str]:  # noqa: FBT001 - the field is one boolean
    """Return the field Upload-Complete."""
    return ("Upload-Complete", structured.write(state))


def limit(limits: UploadLimits, version: int | None = None) -> tuple[str, str]:
    """Return the field Upload-Limit as clients of interop `version` read it."""
    members = {
        "max-size": limits.most,
        "max-append-size": limits.chunk,
        _AGE_NAMES.get(version or 0, "max-age"): int(limits.lives_s),
    }
    most = structured.INTEGER_MOST
    return ("Upload-Limit", structured.write({name: min(value, most) for name, value in members.items()}))


def _version(head: Head) -> int | None:
    version = structured.integer(head.fields.get(b"upload-draft-interop-version"))
    return version if version in VERSIONS and not head.http10 else None


def _read_content(ask: UploadRequest, head: Head) -> None:
    fields = head.fields
    if b"content-range" in fields:
        raise Refused(errors.RANGE_ON_PUT, "Upload-Offset says where the body belongs")
    if ask.act is Action.APPEND:
        if media.read(fields) != TYPE:
            raise Refused(errors.PATCH_TYPE)
        offset = structured.integer(fields.get(b"upload-offset"))
        if offset is None:
            raise Refused(errors.UPLOAD_FIELD, "Upload-Offset must be a number of bytes")
        ask.offset = offset
    ask.ends = structured.boolean(fields.get(b"upload-complete"))
    if ask.ends is None:
        raise Refused(errors.UPLOAD_FIELD, "Upload-Complete must be ?0 or ?1")
    if ask.act is Action.CREATE:  # tus-js-client names the file in this language too
        ask.metadata = metadata.sent(fields.get(b"upload-metadata"))
    ask.length = _length(ask, head)
    ask.checksums = (
        *digests.read(fields.get(b"repr-digest"), whole=True),
        *digests.read(fields.get(b"content-digest"), whole=False),
    )


def _length(ask: UploadRequest, head: Head) -> int | None:
    """Return the length of the file; all that a request says of it must agree (the draft, Upload Length)."""
    told = structured.integer(head.fields.get(b"upload-length"))
    if head.chunked:
        return told
    stop = counts.fit(ask.offset + (head.length or 0))
    if told is not None and (stop > told or (ask.ends and stop != told)):
        raise Refused(errors.UPLOAD_LENGTH, f"Upload-Length says {told}, the body ends at {stop}")
    return stop if ask.ends else told


def _progress(state: UploadState) -> list[tuple[str, str]]:
    return [("Upload-Offset", str(state.offset)), complete(state.complete)]
