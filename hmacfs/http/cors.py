"""Cross-origin rules: an Origin and the allowed ones in, Access-Control fields out (WHATWG Fetch 3.3).

Goes with every answer, refusals included: without it a browser turns a 413 into "network error". Credentials
are never allowed: tokens travel in the URL or in Authorization, which a script sets itself, and "*" is void
beside credentials. Access-Control-Allow-Private-Network is never sent: a public page has no business here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hmacfs.model import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

_METHODS: Final = ", ".join(METHODS)

_ANY: Final = "*"
_ORIGIN: Final = "Access-Control-Allow-Origin"
_EXPOSED: Final = (
    "Access-Control-Expose-Headers",
    (
        "Content-Length, Content-Range, Content-Type, Content-Disposition, Accept-Ranges, ETag, "
        "Last-Modified, Location, Repr-Digest, Retry-After, X-Request-Id"
    ),
)
RESUMABLE: Final = (
    "Access-Control-Expose-Headers",
    (
        "Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Concat, Upload-Expires, "
        "Upload-Complete, Upload-Limit, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
        "Tus-Checksum-Algorithm, Accept-Patch, Content-Location"
    ),
)
"""What a page may see of an answer about a resumable upload, beside what it may see of any other."""
_VARY: Final = ("Vary", "Origin")
# "*" would not cover Authorization (Fetch 3.3.4). Expires is one of the three names that XEP-0363 4 lets a
# slot dictate; the other lists are of what downloads and the Go server's browser clients send.
_REQUEST_FIELDS: Final = (
    "Authorization, Content-Type, Content-Length, Range, If-Range, If-Match, If-None-Match, "
    "If-Modified-Since, If-Unmodified-Since, Cache-Control, Expires, X-Requested-With"
)
_KNOWN: Final = frozenset(_REQUEST_FIELDS.lower().split(", "))
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}")
_ASKED_BYTES: Final = 1024
"""So much of the list of names is looked at."""
_ASKED_MAX: Final = 16
"""So many further names are granted to one preflight: more than any page needs, a bound for our answer."""


def fields(origin: bytes | None, allow_origins: Sequence[str]) -> list[tuple[str, str]]:
    """Return the fields of an ordinary answer; none that allow anything if the origin is not allowed.

    `allow_origins` are serialised origins ("https://chat.example") or "*". Unless it is "*" or empty, the
    answer depends on the origin, and says so whether one was sent or not (Fetch 3.3.5).
    """
    allowed = _allowed(origin, allow_origins)
    return [*allowed, _EXPOSED] if allowed and allowed[0][0] == _ORIGIN else allowed


def unmodified_fields(origin: bytes | None, allow_origins: Sequence[str]) -> list[tuple[str, str]]:
    """Return the fields of a 304: those of its 200, but where they do not matter.

    A browser weighs them only in answers to requests with an Origin (Fetch, "CORS check"), and what a
    cache holds keeps those that it came with (RFC 9111 3.2). Vary stays, as RFC 9110 15.4.5 wants it.
    """
    if origin is None and same_for_all(allow_origins):
        return []
    return fields(origin, allow_origins)


def same_for_all(allow_origins: Sequence[str]) -> bool:
    """Whether an ordinary answer is the same whatever Origin the request has."""
    return _ANY in allow_origins or not allow_origins


def preflight(
    origin: bytes | None, asked_fields: bytes | None, allow_origins: Sequence[str], max_age_s: int
) -> list[tuple[str, str]]:
    """Return the fields of the answer to a preflight.

    `asked_fields` is Access-Control-Request-Headers: well-formed names in it are granted beside the usual
    ones, since a field that is not understood does nothing here. All methods are listed; which of them a
    resource takes is for the request itself to learn.
    """
    allowed = _allowed(origin, allow_origins)
    if not allowed or allowed[0][0] != _ORIGIN:
        return allowed
    return [
        *allowed,
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", ", ".join([_REQUEST_FIELDS, *_further(asked_fields or b"")])),
        ("Access-Control-Max-Age", str(max_age_s)),
    ]


def _allowed(origin: bytes | None, allow_origins: Sequence[str]) -> list[tuple[str, str]]:
    if _ANY in allow_origins:
        return [(_ORIGIN, _ANY)]
    # What is sent back is the configured text that equals the client's, so nothing of his gets out. "null" is
    # every sandboxed page's origin; it is allowed only if the configuration lists it.
    if origin is not None and (text := origin.decode("latin-1")) in allow_origins:
        return [(_ORIGIN, text), _VARY]
    return [_VARY] if allow_origins else []


def _further(asked: bytes) -> list[str]:
    """Return the well-formed names asked for that are not granted anyway."""
    *whole, last = asked[:_ASKED_BYTES].decode("latin-1").split(",")
    listed = whole if len(asked) > _ASKED_BYTES else [*whole, last]  # the last one may have been cut
    names = (name.strip(" \t").lower() for name in listed)
    wanted = dict.fromkeys(name for name in names if _NAME.fullmatch(name) and name not in _KNOWN)
    return list(wanted)[:_ASKED_MAX]
