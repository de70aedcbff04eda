"""The tus resumable upload protocol 1.0.0: its requests read, its answers made.

Core, Creation (with upload, with deferred length), Expiration, Checksum (also as a trailer), Termination and
Concatenation; what is joined may have a Repr-Digest (RFC 9530). Tus-Resumable goes with every answer,
refusals too, so it is not made here (`resume.common_fields`).
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import functools
import re
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http import digests
from hmacfs.http.digests import Checksum
from hmacfs.model import Reply, UploadProtocol
from hmacfs.resume import counts, media, metadata
from hmacfs.resume.requests import Action, UploadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.model import Head
    from hmacfs.resume.requests import UploadLimits, UploadState

VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination"
)
JOINING: Final = "concatenation"
"""The extension by which one upload comes over several connections, if the site permits that."""
TYPE: Final = b"application/offset+octet-stream"
ALGORITHMS: Final = ("sha1", "sha256")
"""Of Upload-Checksum; the protocol demands sha1."""

_ACTS: Final = {"POST": Action.CREATE, "PATCH": Action.APPEND, "HEAD": Action.STATUS, "DELETE": Action.CANCEL}
_CHECKSUM: Final = re.compile(rb"([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})")
_URLS: Final = re.compile("[!-~]+(?: [!-~]+)*")
_JOINS: Final = "what is joined from others has neither a length nor a body"
_TRAILER_BYTES: Final = 256
"""So much of the field Trailer is looked at: it lists a name or two."""
_NO_STORE: Final = ("Cache-Control", "no-store")


def read(head: Head) -> UploadRequest:
    """Return what `head` asks for.

    Raises TUS_VERSION, METHOD_NOT_ALLOWED, PATCH_TYPE, UPLOAD_FIELD, UPLOAD_METADATA, CHECKSUM_UNKNOWN, and
    TOO_LARGE or SIZE_MISMATCH for lengths that cannot be.
    """
    fields = head.fields
    if fields.get(b"tus-resumable") != VERSION.encode():
        raise Refused(errors.TUS_VERSION)
    act = _act(head)
    ask = UploadRequest(protocol=UploadProtocol.TUS, act=act)
    if act is Action.CREATE:
        _read_creation(ask, fields, content=head.body_length)
    elif act is Action.APPEND:
        ask.offset = counts.read("Upload-Offset", fields.get(b"upload-offset"))
        if b"upload-length" in fields:
            ask.length = counts.read("Upload-Length", fields[b"upload-length"])
    if act is Action.APPEND or (act is Action.CREATE and head.has_body and not _is_empty(ask, head)):
        _read_body(ask, head)
    return ask


def checksum(value: bytes | None) -> Checksum:
    """Return the checksum in a field or trailer Upload-Checksum.

    Raises UPLOAD_FIELD if it is absent or malformed, CHECKSUM_UNKNOWN for an algorithm not offered.
    """
    match = _CHECKSUM.fullmatch(value or b"")
    if match is None:
        raise Refused(errors.UPLOAD_FIELD, "Upload-Checksum must be an algorithm and a Base64 value")
    algorithm, encoded = match[1].decode("ascii"), match[2]
    if algorithm not in ALGORITHMS:
        raise Refused(errors.CHECKSUM_UNKNOWN)
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise Refused(errors.UPLOAD_FIELD, "the value of Upload-Checksum is not Base64") from None
    return Checksum(algorithm=algorithm, value=digest, whole=False)


def created(ask: UploadRequest, state: UploadState, location: str, limits: UploadLimits) -> Reply:  # noqa: ARG001 - as all languages
    """Answer a creation: 201 with Location, and the offset, which a creation with upload wants."""
    fields = [("Location", location), *_progress(state)]
    return Reply(status=201, code="created", fields=fields)


def appended(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:  # noqa: ARG001 - as all languages
    """Answer a PATCH: 204 with the new offset, also to the last one."""
    return Reply(status=204, code="no_content", fields=_progress(state))


def told(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:  # noqa: ARG001 - as all languages
    """Answer HEAD: how far the upload has come, and all that was told of it."""
    fields = _progress(state)
    if state.length is None:
        fields.append(("Upload-Defer-Length", "1"))
    else:
        fields.append(("Upload-Length", str(state.length)))
    if state.metadata is not None:
        fields.append(("Upload-Metadata", state.metadata))
    if state.partial:
        fields.append(("Upload-Concat", "partial"))
    elif state.parts:
        fields.append(("Upload-Concat", f"final;{' '.join(state.parts)}"))
    return Reply(status=200, code="ok", fields=[*fields, _NO_STORE])


def cancelled(ask: UploadRequest) -> Reply:  # noqa: ARG001 - as all languages
    """Answer DELETE: 204, the one status that tus-js-client takes for success."""
    return Reply(status=204, code="no_content", fields=[])


def finished_fields(ask: UploadRequest, state: UploadState) -> list[tuple[str, str]]:  # noqa: ARG001 - as all languages
    """Return what the answer of a finished upload says beside its own."""
    return _progress(state)


def options(limits: UploadLimits, *, joins: bool) -> list[tuple[str, str]]:
    """Return what OPTIONS tells of the protocol (Core, OPTIONS); `joins`: with concatenation."""
    return [
        ("Tus-Resumable", VERSION),
        ("Tus-Version", VERSION),
        ("Tus-Extension", f"{EXTENSIONS},{JOINING}" if joins else EXTENSIONS),
        ("Tus-Max-Size", str(limits.most)),
        ("Tus-Checksum-Algorithm", ",".join(ALGORITHMS)),
    ]


def _act(head: Head) -> Action:
    method = head.method
    if method == "POST":
        # For clients behind something that knows only GET and POST; on other methods it could only confuse.
        method = head.fields.get(b"x-http-method-override", b"POST").decode("latin-1").upper()
    if method not in _ACTS:
        raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", "POST, HEAD, PATCH, DELETE"),))
    return _ACTS[method]


def _is_empty(ask: UploadRequest, head: Head) -> bool:
    """Return whether a chunked creation brings nothing: it does not say that it brings part of the file.

    Clients and proxies frame an empty body so (RFC 9112 7.1).
    """
    if head.chunked and ask.parts:
        ask.empty = Refused(errors.UPLOAD_FIELD, _JOINS)
    elif head.chunked and media.read(head.fields) != TYPE:
        ask.empty = Refused(errors.PATCH_TYPE)
    return ask.empty is not None


def _read_creation(ask: UploadRequest, fields: Mapping[bytes, bytes], *, content: int | None) -> None:
    length, deferred = fields.get(b"upload-length"), fields.get(b"upload-defer-length")
    concat = fields.get(b"upload-concat", b"").decode("latin-1")
    ask.metadata = metadata.sent(fields.get(b"upload-metadata"))
    ask.partial = concat == "partial"
    if concat and not ask.partial:
        ask.parts = _parts(concat)
        # Upload-Checksum is of a request's body, and this one has none.
        ask.checksums = digests.read(fields.get(b"repr-digest"), whole=True)
        if length is not None or deferred is not None or content:
            raise Refused(errors.UPLOAD_FIELD, _JOINS)
    elif (length is None) == (deferred is None):
        raise Refused(errors.UPLOAD_FIELD, "one of Upload-Length and Upload-Defer-Length is needed")
    elif length is not None:
        ask.length = counts.read("Upload-Length", length)
    elif deferred != b"1":
        raise Refused(errors.UPLOAD_FIELD, "Upload-Defer-Length can only be 1")


def _parts(concat: str) -> tuple[str, ...]:
    kind, _, listed = concat.partition(";")
    listed = listed.strip(" ")
    if kind != "final" or _URLS.fullmatch(listed) is None:
        raise Refused(errors.UPLOAD_FIELD, "Upload-Concat must be partial, or final; and URLs")
    return tuple(listed.split(" "))


def _read_body(ask: UploadRequest, head: Head) -> None:
    """Read what concerns the bytes that come with the request."""
    fields = head.fields
    if media.read(fields) != TYPE:
        raise Refused(errors.PATCH_TYPE)
    stop = counts.fit(ask.offset + (head.body_length or 0))
    if ask.length is not None and stop > ask.length:
        raise Refused(errors.SIZE_MISMATCH, "the body goes beyond Upload-Length")
    if b"upload-checksum" in fields:
        ask.checksums = (checksum(fields[b"upload-checksum"]),)
    elif head.chunked:
        listed = fields.get(b"trailer", b"")[:_TRAILER_BYTES].lower().split(b",")
        ask.trailer = b"upload-checksum" in (name.strip(b" \t") for name in listed)


@functools.lru_cache(maxsize=16)
def _date(seconds: int) -> str:
    """Return an HTTP date (RFC 9110 5.6.7); many chunks come in one second."""
    return email.utils.formatdate(seconds, usegmt=True)


def _progress(state: UploadState) -> list[tuple[str, str]]:
    fields = [("Upload-Offset", str(state.offset))]
    if not state.complete:
        fields.append(("Upload-Expires", _date(int(state.expires))))
    return fields
