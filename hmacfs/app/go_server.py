"""The Go server's other doors: GET /health, GET /download/PATH, POST /upload and its JSON answers.

Its clients look at the status and at these members; facts from that server's request handlers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from multipart import MultipartError, parse_options_header

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http.target import host_of
from hmacfs.model import KiB, Reply

if TYPE_CHECKING:
    from hmacfs.model import Endpoint, Grant, Head

HEALTH: Final = "/health"
FORM: Final = "/upload"
"""Of all endpoints that enable a dialect for it, the one that `routing` meets first takes forms."""
DOWNLOAD: Final = "/download/"
"""Begins paths that go on with one relative to the storage."""
FORM_DIALECTS: Final = frozenset({"bearer", "gojwt"})
# RFC 2046 5.1.1: a boundary has 70 characters at most.
_TYPE_BYTES: Final = 256
# Boundaries and part headers around the one file of a form.
FORM_OVERHEAD_BYTES: Final = 64 * KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizedForm:
    """A POST before its body is read."""

    endpoint: Endpoint
    boundary: str
    grant: Grant | None
    """What its token permits; None if that is judged behind the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoUploadReply:
    """What the JSON answers tell of a stored file."""

    path: str
    """Path below the storage, with the whole name."""
    name: str
    size: int
    owner: str
    seconds: float


def boundary(head: Head) -> str:
    """Return the boundary of a multipart/form-data request; RFC 7578 4.1. Raises Refused."""
    content_type = head.fields.get(b"content-type", b"").decode("latin-1")
    if len(content_type) > _TYPE_BYTES:
        raise Refused(errors.TYPE_UNSUPPORTED)
    try:
        kind, options = parse_options_header(content_type)
    except MultipartError as error:
        raise Refused(errors.TYPE_UNSUPPORTED) from error
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Refused(errors.TYPE_UNSUPPORTED)
    return str(options["boundary"])


def health() -> Reply:
    """Answer GET /health."""
    content_type = ("Content-Type", "text/plain; charset=utf-8")
    return Reply(status=200, code="ok", fields=[content_type], pieces=[b"OK"])


def form_reply(stored: GoUploadReply, *, client: str, now: float) -> Reply:
    """Answer a stored form as the Go server does."""
    content: dict[str, str | int] = {
        "success": True,
        "filename": stored.name,
        "size": stored.size,
        "duration": f"{stored.seconds:.6f}s",
        "client_ip": host_of(client),
        "timestamp": int(now),
    }
    if stored.owner:
        content["user"] = stored.owner
    return _json(content)


def put_reply(stored: GoUploadReply) -> Reply:
    """Answer a stored PUT of the Go server's own dialects as it does.

    But for the directories in the URL: that server stores such a file under its bare name.
    """
    return _json(
        {
            "message": "File uploaded successfully",
            "filename": stored.name,
            "size": stored.size,
            "url": f"{DOWNLOAD}{quote(stored.path)}",
        }
    )


def _json(content: dict[str, str | int]) -> Reply:
    return Reply(
        status=200,
        code="ok",
        fields=[("Content-Type", "application/json"), ("Cache-Control", "no-store")],
        pieces=[json.dumps(content).encode()],
    )
