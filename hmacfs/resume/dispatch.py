"""Which language a request is written in, and the module that knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hmacfs.http import cors, structured
from hmacfs.model import UploadProtocol
from hmacfs.resume import chunked, ietf, media, ranges, tus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.model import Head, Reply
    from hmacfs.resume.requests import UploadLimits, UploadRequest, UploadState


class UploadLanguage(Protocol):
    """What a module must be able to read and to answer."""

    def read(self, head: Head) -> UploadRequest:
        """Return what `head` asks for. Raises Refused."""

    def created(self, ask: UploadRequest, state: UploadState, location: str, limits: UploadLimits) -> Reply:
        """Answer CREATE: where the upload is, by its URL (chunked: by its id)."""

    def appended(self, ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:
        """Answer APPEND: how far the upload has come, or that it is whole."""

    def told(self, ask: UploadRequest, state: UploadState, limits: UploadLimits) -> Reply:
        """Answer STATUS."""

    def cancelled(self, ask: UploadRequest) -> Reply:
        """Answer CANCEL."""

    def finished_fields(self, ask: UploadRequest, state: UploadState) -> list[tuple[str, str]]:
        """Return the fields that go onto a slot's own 201 where a resumable request has finished it."""


LANGUAGES: Final[Mapping[UploadProtocol, UploadLanguage]] = {
    UploadProtocol.TUS: tus,
    UploadProtocol.IETF: ietf,
    UploadProtocol.RANGE: ranges,
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
        return _detect_whole(head)
    if method == "PATCH":
        return {tus.TYPE: UploadProtocol.TUS, ietf.TYPE: UploadProtocol.IETF}.get(media.read(fields))
    return UploadProtocol.IETF if b"upload-draft-interop-version" in fields else None


def _detect_whole(head: Head) -> UploadProtocol | None:
    """Return the language of a PUT or POST that names none by a field of its own."""
    if head.path == chunked.UPLOAD:
        return UploadProtocol.CHUNKED
    return UploadProtocol.RANGE if b"content-range" in head.fields and head.method == "PUT" else None


def common_fields(head: Head) -> list[tuple[str, str]]:
    """Return the fields of every answer to `head`, refusals included; none for an ordinary request.

    A page of another origin may see the fields of its language; which origins may is said by `http.cors`.
    """
    is_page = b"origin" in head.fields
    if not is_page and head.method == "PUT":
        return []  # most uploads: only tus has fields for others than pages, and it has no PUT
    protocol = detect(head)
    if protocol is None:
        return []
    fields = [("Tus-Resumable", tus.VERSION)] if protocol is UploadProtocol.TUS else []
    return [*fields, cors.RESUMABLE] if is_page else fields


def options(limits: UploadLimits, *, joins: bool) -> list[tuple[str, str]]:
    """Return what OPTIONS tells of a resource that takes resumable uploads; `joins`: also partial ones."""
    patches = ("Accept-Patch", b", ".join((tus.TYPE, ietf.TYPE)).decode("ascii"))  # RFC 5789 3.1
    return [*tus.options(limits, joins=joins), ietf.limit(limits), patches]
