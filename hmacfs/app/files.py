"""A file and a request head in, the reply out: conditionals, ranges, safe fields (RFC 9110 13, 14)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.app.routing import Resource
from hmacfs.errors import Refused
from hmacfs.http import conditional, digests, media, multipart, ranges
from hmacfs.http import reply as replies
from hmacfs.http.conditional import Verdict
from hmacfs.model import CacheEntry, Reply, Span

if TYPE_CHECKING:
    from hmacfs.app.routing import Route
    from hmacfs.model import File, Head
    from hmacfs.store import FileMetadata

ATTACHED_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """What the answers about one open file are made of."""

    file: File
    name: str
    served_type: str
    expires: float | None
    """Wall-clock time at which it must be gone."""
    now: float
    etag: str
    modified: str
    ranges: bool
    """Whether parts of it may be asked for."""
    sha256: bytes | None
    """SHA-256 of the whole, whatever part is asked for; None if that is not known."""

    def fields(self) -> list[tuple[str, str]]:
        """Return the file's fields of a 200 or 206; Content-Type is the first."""
        fields = replies.file_fields(self.name, self.served_type, self.modified, self.unmodified())
        return fields if self.ranges else [_without_ranges(*field) for field in fields]

    def digest(self) -> list[tuple[str, str]]:
        """Return Repr-Digest; none if the digest is not known."""
        return [] if self.sha256 is None else [("Repr-Digest", digests.write(self.sha256))]

    def unmodified(self) -> list[tuple[str, str]]:
        """Return the file's fields of a 304."""
        return replies.unmodified_fields(self.etag, expires=self.expires, now=self.now)


def _without_ranges(name: str, value: str) -> tuple[str, str]:
    """Return a field of a file that is served whole or not at all (RFC 9110 14.3)."""
    return name, "none" if name == "Accept-Ranges" else value


def describe(file: File, known: FileMetadata, route: Route, *, now: float, ranges: bool) -> Representation:
    """Return what answers about an open file are made of; `route` led to it.

    The Go server's /download/ serves it as bytes to save, never to show; `ranges` says whether parts of it
    may be asked for.
    """
    name, attached = route.file().name, route.resource is Resource.DOWNLOAD
    return Representation(
        file=file,
        name=name,
        served_type=ATTACHED_TYPE if attached else media.safe_type(known.content_type, name),
        expires=known.expires,
        now=now,
        etag=conditional.etag(file.size, file.mtime_ns),
        modified=conditional.last_modified(file.mtime_ns),
        ranges=ranges,
        sha256=known.sha256,
    )


def reply(head: Head, representation: Representation) -> Reply:
    """Answer a GET or HEAD of an open file. Raises Refused: precondition_failed, range_not_satisfiable."""
    file = representation.file
    verdict = conditional.verdict(head, representation.etag, file.mtime_ns)
    if verdict is Verdict.FAILED:
        raise Refused(errors.PRECONDITION_FAILED)
    if verdict is Verdict.NOT_MODIFIED:
        return Reply(status=304, code="not_modified", fields=representation.unmodified(), file=file)
    fields = representation.fields()
    # Not in `Representation.fields`: an answer from memory has none; `_asked` leaves such requests to this.
    if b"want-repr-digest" in head.fields and digests.wants_sha256(head.fields[b"want-repr-digest"]):
        fields += representation.digest()
    spans = _spans(head, representation.etag, file) if representation.ranges else None
    if spans is None:
        whole: list[bytes | Span] = [Span(0, file.size)] if file.size else []
        return Reply(status=200, code="ok", fields=fields, pieces=whole, file=file)
    if len(spans) == 1:
        (span,) = spans
        fields.append(("Content-Range", ranges.content_range(span, file.size)))
        return Reply(status=206, code="partial", fields=fields, pieces=[span], file=file)
    boundary = os.urandom(12).hex()
    pieces = multipart.byteranges(spans, file.size, representation.served_type, boundary)
    fields[0] = ("Content-Type", multipart.content_type(boundary))
    return Reply(status=206, code="partial", fields=fields, pieces=pieces, file=file)


def offloaded(representation: Representation, field: str, place: str) -> Reply:
    """Answer a GET or HEAD with the place from which the proxy sends the file.

    `field` is X-Accel-Redirect for nginx, whose `place` is a path of its own, or X-Sendfile for Apache's
    mod_xsendfile, whose `place` is that in the file system. Conditionals and ranges are weighed by the
    proxy. nginx keeps our Content-Type, Content-Disposition and Cache-Control and
    drops every other field, unless its configuration adds it anew; Apache keeps all.
    """
    fields = representation.fields()
    fields.append((field, place))
    return Reply(status=200, code="ok", fields=fields, file=representation.file)


def kept(
    representation: Representation,
    key: str,
    *,
    shared: list[tuple[str, str]],
    shared_unmodified: list[tuple[str, str]],
) -> CacheEntry:
    """Return what answers the same target again.

    `shared` are the fields that every answer carries, but for a 304 to a request without an Origin: that
    has `shared_unmodified`.
    """
    return CacheEntry(
        key=key,
        fields=representation.fields(),
        unmodified=representation.unmodified(),
        shared=shared,
        shared_unmodified=shared_unmodified,
        etag=representation.etag,
        expires=representation.expires,
    )


def _spans(head: Head, etag: str, file: File) -> tuple[Span, ...] | None:
    """Return what of the file is asked for; None for all of it.

    RFC 9110 14.2: Range means something with GET only; 13.2.2: If-Range is weighed last.
    """
    header = head.fields.get(b"range")
    if header is None or head.method != "GET":
        return None
    if not conditional.if_range_holds(head, etag, file.mtime_ns):
        return None
    return ranges.resolve(header, file.size)
