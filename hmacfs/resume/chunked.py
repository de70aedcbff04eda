"""The Go server's chunked uploads: /chunked-upload and /upload-status, its fields and its JSON.

What made them unsafe there is not taken over: an id is 128 random bits and no part of a path, chunks have one
place and one length each, and who may send them is for `auth` to say.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Reply, Span, UploadProtocol
from hmacfs.resume import counts
from hmacfs.resume.requests import Action, UploadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.model import Head
    from hmacfs.resume.requests import UploadLimits, UploadState

UPLOAD: Final = "/chunked-upload"
"""POST or PUT: begins an upload, or brings a chunk."""
STATUS: Final = "/upload-status"
"""GET: how far one has come."""

_METHODS: Final = {UPLOAD: ("POST", "PUT"), STATUS: ("GET", "HEAD")}
_PARAMETERS_MOST: Final = 64
_ID: Final = re.compile(r"[0-9a-f]{32}")


def read(head: Head) -> UploadRequest:
    """Return what `head` asks for: of UPLOAD by POST or PUT, of STATUS by GET.

    Raises METHOD_NOT_ALLOWED, NOT_FOUND for an id that is none of ours, UPLOAD_FIELD, QUERY_MALFORMED and
    TOO_LARGE.
    """
    fields, methods = head.fields, _METHODS.get(head.path, ())
    if head.method not in methods:
        raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", ", ".join([*methods, "OPTIONS"])),))
    if head.path == STATUS:
        return UploadRequest(protocol=UploadProtocol.CHUNKED, act=Action.STATUS, session=_asked(head.query))
    session = fields.get(b"x-upload-session-id")
    if not session:
        return UploadRequest(
            protocol=UploadProtocol.CHUNKED,
            act=Action.CREATE,
            length=counts.read("X-Total-Size", fields.get(b"x-total-size")),
            name=_name(fields.get(b"x-filename", b"")),
        )
    return UploadRequest(
        protocol=UploadProtocol.CHUNKED,
        act=Action.APPEND,
        session=_session(session.decode("latin-1")),
        chunk=counts.read("X-Chunk-Number", fields.get(b"x-chunk-number")),
    )


def place(ask: UploadRequest, head: Head, length: int, chunk_bytes: int) -> Span:
    """Return where the chunk of `ask` lies in an upload of `length` bytes in chunks of `chunk_bytes`.

    The body must be exactly as long; if it comes chunked, the caller sees to that. Raises CHUNK_MISPLACED
    for a chunk that is not one of the file or is too short, SIZE_MISMATCH for one that is too long.
    """
    start = ask.chunk * chunk_bytes
    span = Span(start, min(start + chunk_bytes, length))
    if start >= length:
        raise Refused(errors.CHUNK_MISPLACED, f"the upload has {count(length, chunk_bytes)} chunks")
    if not head.chunked and (sent := head.length or 0) != span.length:
        refusal = errors.SIZE_MISMATCH if sent > span.length else errors.CHUNK_MISPLACED
        raise Refused(refusal, f"chunk {ask.chunk} has {span.length} bytes")
    return span


def count(length: int, chunk_bytes: int) -> int:
    """Return how many chunks an upload of `length` bytes has."""
    return -(-length // chunk_bytes)


def created(ask: UploadRequest, state: UploadState, location: str, limits: UploadLimits) -> Reply:  # noqa: ARG001 - as all languages
    """Answer a creation: `location` is the upload's id, `limits.chunk` the size of its chunks."""
    content: dict[str, str | float] = {
        "session_id": location,
        "chunk_size": limits.chunk,
        "total_chunks": count(state.length or 0, limits.chunk),
    }
    return _json(content, status=201, code="created")


def appended(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:  # noqa: ARG001 - as all languages
    """Answer a chunk; the last to come, whichever it is, finishes the file."""
    if state.complete:
        return _json(
            {
                "success": True,
                "filename": state.name,
                "size": state.length or 0,
                "duration": f"{max(0.0, state.touched - state.began):.6f}s",
                "completed": True,
            }
        )
    return _json(
        {
            "success": True,
            "chunk": ask.chunk,
            "uploaded_bytes": state.offset,
            "total_size": state.length or 0,
            "progress": _progress(state),
            "completed": False,
        }
    )


def repeated(ask: UploadRequest) -> Reply:
    """Answer a chunk that had come before: nothing of it is stored again."""
    return _json({"message": "Chunk already uploaded", "chunk": ask.chunk})


def told(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:  # noqa: ARG001 - as all languages
    """Answer how far the upload has come."""
    return _json(
        {
            "session_id": ask.session,
            "filename": state.name,
            "total_size": state.length or 0,
            "uploaded_bytes": state.offset,
            "progress": _progress(state),
            "completed": state.complete,
            "last_activity": datetime.fromtimestamp(state.touched, UTC).isoformat(),
            "chunks": state.chunks,
        }
    )


def cancelled(ask: UploadRequest) -> Reply:  # noqa: ARG001 - as all languages
    """Answer a cancelled upload; the Go server has no request for it, but a caller need not know that."""
    return Reply(status=204, code="no_content", fields=[])


def finished_fields(ask: UploadRequest, state: UploadState) -> list[tuple[str, str]]:  # noqa: ARG001 - as all languages
    """Return what the answer of a finished upload says beside its own: nothing."""
    return []


def _progress(state: UploadState) -> float:
    """Return the part of the file that has come, from 0 to 1."""
    return state.offset / state.length if state.length else 1.0


def _session(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise Refused(errors.NOT_FOUND)
    return text


def _asked(query: str) -> str:
    if query.count("&") > _PARAMETERS_MOST:
        raise Refused(errors.QUERY_MALFORMED, "too many parameters")
    values = [
        value for name, _, value in (part.partition("=") for part in query.split("&")) if name == "session_id"
    ]
    if not values:
        raise Refused(errors.UPLOAD_FIELD, "the query must say session_id")
    if len(values) > 1:
        raise Refused(errors.QUERY_MALFORMED, "session_id is given more than once")
    return _session(values[0])


def _name(value: bytes) -> str:
    try:
        name = value.decode()
    except UnicodeDecodeError:
        name = ""
    if not name:
        raise Refused(errors.UPLOAD_FIELD, "X-Filename must be the file's name in UTF-8")
    return name


def _json(content: Mapping[str, str | float], *, status: int = 200, code: str = "ok") -> Reply:
    return Reply(
        status=status,
        code=code,
        fields=[("Content-Type", "application/json"), ("Cache-Control", "no-store")],
        pieces=[json.dumps(content).encode()],
    )
