"""Resumable uploads as pure rules: a request and what is stored in, what to do and what to say out.

Four languages (`UploadProtocol`) ask for the same four things (`Action`): begin an upload, append to it, tell
how far it has come, cancel it. No sockets, no files, no clock.

`speaks` names the language, `read` gives the Ask, and one of the answers below gives the Reply. None of them
has the fields of `every`, which belong to refusals too: who makes the last step of an answer adds them once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hmacfs.http import cors, structured
from hmacfs.resume import chunked, ietf, media, metadata, ranges, tus
from hmacfs.resume.ietf import interim, limit
from hmacfs.resume.refusals import checksum_wrong, length_wrong, offset_wrong, too_large
from hmacfs.resume.requests import Action, UploadLimits, UploadProtocol, UploadRequest, UploadState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hmacfs.model import Head, Reply

__all__ = [
    "Action",
    "UploadLimits",
    "UploadProtocol",
    "UploadRequest",
    "UploadState",
    "appended",
    "cancelled",
    "checksum_wrong",
    "chunked",
    "common_fields",
    "created",
    "detect",
    "finished_fields",
    "interim",
    "length_wrong",
    "limit",
    "metadata",
    "offset_wrong",
    "options",
    "read",
    "told",
    "too_large",
    "tus",
]


class _Voice(Protocol):
    """What a module must say to answer in its language."""

    def created(
        self, ask: UploadRequest, state: UploadState, location: str, limits: UploadLimits
    ) -> Reply: ...

    def appended(self, ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply: ...

    def told(self, ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply: ...

    def cancelled(self, ask: UploadRequest) -> Reply: ...

    def finished_fields(self, ask: UploadRequest, state: UploadState) -> list[tuple[str, str]]: ...


_READ: Final[Mapping[UploadProtocol, Callable[[Head], UploadRequest]]] = {
    UploadProtocol.TUS: tus.read,
    UploadProtocol.IETF: ietf.read,
    UploadProtocol.RANGE: ranges.read,
    UploadProtocol.CHUNKED: chunked.read,
}
_VOICES: Final[Mapping[UploadProtocol, _Voice]] = {
    UploadProtocol.TUS: tus,
    UploadProtocol.IETF: ietf,
    UploadProtocol.RANGE: ietf,
    UploadProtocol.CHUNKED: chunked,
}


def detect(head: Head) -> UploadProtocol | None:
    """Return the language of a request; None for an ordinary one, and always for GET and OPTIONS.

    Asked of every upload and every HEAD, so it looks at no more than it must. A HEAD that tells no language
    is an ordinary one; who knows that its URL is an upload reads it as IETF, which demands nothing of it.
    """
    method, fields = head.method, head.fields
    if method in ("GET", "OPTIONS"):
        return None
    if b"tus-resumable" in fields and method != "PUT":
        return UploadProtocol.TUS
    # A malformed Upload-Complete is one that was not sent.
    if b"upload-complete" in fields and structured.boolean(fields[b"upload-complete"]) is not None:
        return UploadProtocol.IETF
    if method in ("PUT", "POST"):
        return _upload_door(head)
    if method == "PATCH":
        return {tus.TYPE: UploadProtocol.TUS, ietf.TYPE: UploadProtocol.IETF}.get(media.read(fields))
    return UploadProtocol.IETF if b"upload-draft-interop-version" in fields else None


def _upload_door(head: Head) -> UploadProtocol | None:
    if head.path == chunked.UPLOAD:
        return UploadProtocol.CHUNKED
    return UploadProtocol.RANGE if b"content-range" in head.fields and head.method == "PUT" else None


def read(protocol: UploadProtocol, head: Head) -> UploadRequest:
    """Return what `head` asks for in the language `protocol`; raises Refused as the language's `read`."""
    return _READ[protocol](head)


def created(ask: UploadRequest, state: UploadState, location: str, limits: UploadLimits) -> Reply:
    """Answer CREATE: where the upload is, by its URL (chunked: by its id)."""
    return _VOICES[ask.protocol].created(ask, state, location, limits)


def appended(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:
    """Answer APPEND: how far the upload has come, or that it is whole."""
    return _VOICES[ask.protocol].appended(ask, state, limits)


def told(ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:
    """Answer STATUS."""
    return _VOICES[ask.protocol].told(ask, state, limits)


def cancelled(ask: UploadRequest) -> Reply:
    """Answer CANCEL."""
    return _VOICES[ask.protocol].cancelled(ask)


def finished_fields(ask: UploadRequest, state: UploadState) -> list[tuple[str, str]]:
    """Return the fields that go onto a slot's own 201 where a resumable request has finished it."""
    return _VOICES[ask.protocol].finished_fields(ask, state)


def common_fields(head: Head) -> list[tuple[str, str]]:
    """Return the fields of every answer to `head`, refusals included; none for an ordinary request.

    A page of another origin may see the fields of its language; which origins may is said by `http.cors`.
    """
    protocol = detect(head)
    if protocol is None:
        return []
    fields = [("Tus-Resumable", tus.VERSION)] if protocol is UploadProtocol.TUS else []
    return [*fields, cors.RESUMABLE] if b"origin" in head.fields else fields


def options(limits: UploadLimits, *, joins: bool) -> list[tuple[str, str]]:
    """Return what OPTIONS tells of a resource that takes resumable uploads; `joins`: also partial ones."""
    patches = ("Accept-Patch", b", ".join((tus.TYPE, ietf.TYPE)).decode("ascii"))  # RFC 5789 3.1
    return [*tus.options(limits, joins=joins), limit(limits), patches]
