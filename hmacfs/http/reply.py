"""Replies as bytes: the head of an answer, the fields of a file, the body of a refusal.

Knows nothing of sockets and clocks: date, request id and keep-alive are arguments.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from hmacfs.http import lines, media
from hmacfs.model import Reply

if TYPE_CHECKING:
    from hmacfs.errors import Refused
    from hmacfs.model import Head

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""The whole interim answer to Expect: 100-continue."""

YEAR_S: Final = 365 * 24 * 60 * 60
_PROBLEM: Final = "application/problem+json"
_TEXT: Final = "text/plain"

# RFC 9110's words where older Pythons still have RFC 2616's; 460 is of tus 1.0.0.
_PHRASES: Final = {s.value: s.phrase for s in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    460: "Checksum Mismatch",
}
_ACCEPT_BYTES: Final = 1024
_ACCEPTED_MOST: Final = 32
"""A longer Accept says nothing: browsers send a tenth of this."""
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {phrase}\r\nDate: ".encode("ascii") for status, phrase in _PHRASES.items()
}
_WITHOUT_CONTENT: Final = frozenset({*range(100, 200), 204, 304})
"""Statuses that end with their head (RFC 9112 6.3)."""

# Three policies. Pictures, sound, video and text opened as a page of their own are shown by a document that
# the browser builds around them: it fetches the medium again from its own URL (media-src, img-src 'self') and
# styles it inline, so under the bare policy video stays black. 'self' means the URL's origin in a sandboxed
# page too (CSP3 2.2.2). Nothing of the uploader's is markup there, and scripts stay off. Chromium's player
# fetches with CORS, from a sandbox as origin "null": where only some origins are allowed it could not play,
# so its document keeps its own origin, which is of no use without scripts. Whatever else comes as an
# attachment, and should a browser show it all the same, it may load nothing at all.
_CSP_STRICT: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_SELF: Final = "; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
_CSP_SHOWN: Final = f"{_CSP_STRICT}{_SELF}"
_CSP_PLAYED: Final = f"{_CSP_STRICT} allow-same-origin{_SELF}"

_NOSNIFF: Final = ("X-Content-Type-Options", "nosniff")
_FILE_FIELDS: Final = (
    ("Accept-Ranges", "bytes"),
    _NOSNIFF,
    # Chat clients in browsers show our files on pages of other sites; that is what they are for.
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Referrer-Policy", "no-referrer"),
)
STATIC: Final = (*_FILE_FIELDS, ("Content-Security-Policy", _CSP_STRICT))
"""The security fields of a file answer that is downloaded, not shown."""
STATIC_SHOWN: Final = (*_FILE_FIELDS, ("Content-Security-Policy", _CSP_SHOWN))
"""The security fields of a file answer that a browser may show in place (see `media.inline`)."""
STATIC_PLAYED: Final = (*_FILE_FIELDS, ("Content-Security-Policy", _CSP_PLAYED))
"""The same of one that it may play (see `media.played`)."""


def file_fields(
    name: str, content_type: str, last_modified: str, validators: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the fields of an answer that carries a file or a part of it; Content-Type is the first.

    `content_type` is the file's own, made by `media.safe_type`; a multipart answer replaces the first field.
    `validators` are those that its 304 has, of `unmodified_fields`.
    """
    return [
        ("Content-Type", content_type),
        ("Content-Disposition", media.disposition(name, content_type)),
        ("Last-Modified", last_modified),
        *validators,
        *_static(content_type),
    ]


def _static(content_type: str) -> tuple[tuple[str, str], ...]:
    if not media.inline(content_type):
        return STATIC
    return STATIC_PLAYED if media.played(content_type) else STATIC_SHOWN


def unmodified_fields(etag: str, *, expires: float | None, now: float) -> list[tuple[str, str]]:
    """Return the fields of a 304: ETag and Cache-Control, as its 200 has them (RFC 9110 15.4.5).

    Nothing else of the file: a cache knows what it holds by the ETag alone (RFC 9111 4.3.4).

    "public": whoever has the URL may have the file, so a shared cache that is asked for the URL gives away
    nothing. "immutable": a name is never written twice. A cache may not outlive the file.
    """
    fresh_s = YEAR_S if expires is None else min(YEAR_S, int(expires - now))
    cache = f"public, max-age={fresh_s}, immutable" if fresh_s > 0 else "no-store"
    return [("ETag", etag), ("Cache-Control", cache)]


def sends_body(reply: Reply, head: Head | None) -> bool:
    """Whether the pieces of `reply` follow its head on the wire: not for HEAD, 1xx, 204 and 304."""
    return reply.status not in _WITHOUT_CONTENT and (head is None or head.method != "HEAD")


def render(reply: Reply, head: Head | None, *, request_id: str, date: bytes, keep_alive: bool) -> bytes:
    """Return the whole head of `reply`: status line, Date, fields, framing, request id.

    `head` is None if the request was too broken to have one; `date` is an IMF-fixdate of the caller's own.
    The connection ends after it if `reply.close` or not `keep_alive`, and the head says so. The version is
    ours, whatever the client's (RFC 9110 6.2). Raises ValueError for control or non-ASCII characters in a
    field, KeyError for a status that is none.
    """
    texts = [f"{name}: {value}" for name, value in reply.fields]
    texts.append(f"X-Request-Id: {request_id}")
    if reply.status not in _WITHOUT_CONTENT:
        # HEAD has the one of GET (RFC 9110 8.6). A 304 may have that of its 200, which is not known here.
        texts.append(f"Content-Length: {reply.length}")
    if reply.close or not keep_alive:
        texts.append("Connection: close")
    elif head is not None and head.http10:
        texts.append("Connection: keep-alive")
    return b"%b%b\r\n%b\r\n" % (_STATUS_LINES[reply.status], date, lines.encode(texts))


def refusal(refused: Refused, head: Head | None, request_id: str) -> Reply:
    """Return the answer to a refused request: problem+json (RFC 9457), or plain text for who prefers that."""
    kind = refused.refusal
    as_text = head is not None and _prefers_text(head.fields.get(b"accept", b"*/*"))
    if as_text:
        said = f"{kind.words}: {refused.detail}" if refused.detail else kind.words
        # Guards terminals: what the client sent may be in the detail, escape sequences too.
        printable = said if said.isprintable() else ascii(said)[1:-1]
        body = f"{printable}\nrequest {request_id}\n".encode(errors="backslashreplace")
    else:
        problem: dict[str, str | int] = {
            "type": kind.type or f"urn:hmacfs:problem:{kind.code}",
            "title": kind.words,
            "status": kind.status,
            "detail": refused.detail,
            "code": kind.code,
            "request_id": request_id,
            **refused.members,
        }
        if not refused.detail:
            del problem["detail"]
        body = json.dumps(problem).encode("ascii") + b"\n"
    return Reply(
        status=kind.status,
        code=kind.code,
        fields=[
            ("Content-Type", f"{_TEXT}; charset=utf-8" if as_text else _PROBLEM),
            ("Cache-Control", "no-store"),
            _NOSNIFF,
            *refused.fields,
        ],
        pieces=[body],
        close=kind.close,
    )


def _prefers_text(accept: bytes) -> bool:
    """Whether text/plain is wanted more than JSON (RFC 9110 12.5.1); at a tie it is not."""
    if accept == b"*/*":  # curl and most programs
        return False
    if len(accept) > _ACCEPT_BYTES or accept.count(b",") > _ACCEPTED_MOST:
        return False
    weights: dict[str, float] = {}
    for element in accept.decode("latin-1").lower().split(","):
        kind, *parameters = (part.strip(" \t") for part in element.split(";"))
        weights[kind] = max(weights.get(kind, 0.0), _weight(parameters))
    rest = weights.get("*/*", 0.0)
    text = weights.get(_TEXT, weights.get("text/*", rest))
    generic = weights.get("application/*", rest)
    return text > max(weights.get(_PROBLEM, generic), weights.get("application/json", generic))


def _weight(parameters: list[str]) -> float:
    """Return the q of a list element: 1 if it has none, 0 if it is malformed."""
    weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return min(1.0, max(0.0, float(weight)))
    except ValueError:
        return 0.0
