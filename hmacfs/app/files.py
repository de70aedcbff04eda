"""A file and a request head in, the reply out: conditionals, ranges, safe fields (RFC 9110 13, 14)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http import conditional, media, multipart, ranges
from hmacfs.http import reply as replies
from hmacfs.http.conditional import Verdict
from hmacfs.model import Kept, Reply, Span

if TYPE_CHECKING:
    from hmacfs.model import File, Head

ATTACHED_TYPE = "application/octet-stream"


def reply(  # noqa: PLR0913 - all that a file's answer depends on
    head: Head,
    file: File,
    *,
    name: str,
    content_type: str | None,
    expires: float | None,
    now: float,
    attached: bool,
) -> Reply:
    """Answer a GET or HEAD of an open file. `reply.file` is None if no byte of it is part of the answer.

    `attached` serves it as the Go server's /download/ does: as bytes to save, never to show.
    Raises Refused: precondition_failed, range_not_satisfiable.
    """
    etag = conditional.etag(file.size, file.mtime_ns)
    modified = conditional.last_modified(file.mtime_ns)
    verdict = conditional.verdict(head, etag, file.mtime_ns)
    if verdict is Verdict.FAILED:
        raise Refused(errors.PRECONDITION_FAILED)
    if verdict is Verdict.NOT_MODIFIED:
        fields = replies.unmodified_fields(etag, modified, expires=expires, now=now)
        return Reply(status=304, code="not_modified", fields=fields)
    served_type = ATTACHED_TYPE if attached else media.safe_type(content_type, name)
    fields = replies.file_fields(name, served_type, etag, modified, expires=expires, now=now)
    spans = _spans(head, etag, file)
    if spans is None:
        whole: list[bytes | Span] = [Span(0, file.size)] if file.size else []
        return Reply(status=200, code="ok", fields=fields, pieces=whole, file=file)
    if len(spans) == 1:
        (span,) = spans
        fields.append(("Content-Range", ranges.content_range(span, file.size)))
        return Reply(status=206, code="partial", fields=fields, pieces=[span], file=file)
    boundary = os.urandom(12).hex()
    pieces = multipart.byteranges(spans, file.size, served_type, boundary)
    fields[0] = ("Content-Type", multipart.content_type(boundary))
    return Reply(status=206, code="partial", fields=fields, pieces=pieces, file=file)


def kept(  # noqa: PLR0913 - what the reply was made from
    reply: Reply,
    file: File,
    *,
    shared: list[tuple[str, str]],
    expires: float | None,
    seconds: float,
    now: float,
) -> Kept:
    """Give what answers the same request from memory for `seconds`; `reply` is the 200, without `shared`."""
    etag = conditional.etag(file.size, file.mtime_ns)
    modified = conditional.last_modified(file.mtime_ns)
    return Kept(
        fields=list(reply.fields),
        unmodified=replies.unmodified_fields(etag, modified, expires=expires, now=now),
        shared=shared,
        etag=etag,
        seconds=seconds,
    )


def _spans(head: Head, etag: str, file: File) -> tuple[Span, ...] | None:
    """Give what of the file is asked for; None for all of it.

    RFC 9110 14.2: Range means something with GET only; 13.2.2: If-Range is weighed last.
    """
    header = head.fields.get(b"range")
    if header is None or head.method != "GET":
        return None
    if not conditional.if_range_holds(head, etag, file.mtime_ns):
        return None
    return ranges.resolve(header, file.size)
