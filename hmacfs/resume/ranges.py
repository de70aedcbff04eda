"""PUT with Content-Range (RFC 9110 14.5): a file's slot continued by a client that knows nothing newer.

`bytes FIRST-LAST/SIZE` carries that part; `bytes */SIZE` without a body asks how far the upload has come, as
it does with the uploads of Google's interfaces. It is answered in the words of `ietf`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import UploadProtocol
from hmacfs.resume import counts
from hmacfs.resume.ietf import appended, cancelled, created, finished_fields, told
from hmacfs.resume.requests import Action, UploadRequest

if TYPE_CHECKING:
    from hmacfs.model import Head

__all__ = ["appended", "cancelled", "created", "finished_fields", "read", "told"]

_RANGE: Final = re.compile(rb"bytes (?:\*|([0-9]+)-([0-9]+))/([0-9]+)", re.IGNORECASE)


def read(head: Head) -> UploadRequest:
    """Return what `head` asks for.

    Raises RANGE_ON_PUT for a range that is malformed or not exactly the body, LENGTH_REQUIRED where no body
    is framed, and TOO_LARGE for a size that no file has. What only the end of a chunked body tells is left to
    the caller (`UploadRequest.body`, `UploadRequest.empty`).
    """
    match = _RANGE.fullmatch(head.fields.get(b"content-range", b""))
    if match is None:
        raise Refused(errors.RANGE_ON_PUT)
    length = counts.read("Content-Range", match[3])
    if match[1] is None:
        if head.length:
            raise Refused(errors.RANGE_ON_PUT)
        empty = Refused(errors.RANGE_ON_PUT) if head.chunked else None
        return UploadRequest(protocol=UploadProtocol.RANGE, act=Action.STATUS, length=length, empty=empty)
    start, last = (counts.read("Content-Range", match[group]) for group in (1, 2))
    body = last + 1 - start
    if not start <= last < length:
        raise Refused(errors.RANGE_ON_PUT)
    if head.body_length not in {None, body}:
        raise Refused(errors.LENGTH_REQUIRED if head.length is None else errors.RANGE_ON_PUT)
    return UploadRequest(
        protocol=UploadProtocol.RANGE,
        act=Action.APPEND,
        offset=start,
        length=length,
        body=body if head.chunked else None,
    )
