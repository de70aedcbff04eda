"""Prosody's mod_http_file_share (0.12 and 13) with a base URL: a JWT that binds slot, name, size and type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hmacfs.auth import jose, text
from hmacfs.errors import JWT_WRONG, LENGTH_REQUIRED, SIZE_MISMATCH, Refused
from hmacfs.model import JWT_ALGORITHM, Grant

if TYPE_CHECKING:
    from hmacfs.auth.slot_request import SlotRequest
    from hmacfs.model import Head, Secret, Slot


def verify(head: Head, slot: Slot, token: str, *, now: float) -> Grant:
    """Return the grant of a slot's token.

    Raises JWT_WRONG, TOKEN_EXPIRED, SIZE_MISMATCH if Content-Length is not the granted size, or
    LENGTH_REQUIRED if a body was granted and none is framed. Of a chunked body the caller
    compares the bytes received with `Grant.size`.
    """
    claims = jose.verified(token, slot.endpoint.secrets, (JWT_ALGORITHM,), now=now)
    first, _, rest = slot.rel.partition("/")
    if jose.string(claims, "slot") != first:
        raise Refused(JWT_WRONG, "the claim slot is not the path's first segment")
    # Prosody compares the slot only; without the name one token would do for every name in it.
    if jose.string(claims, "filename") != rest:
        raise Refused(JWT_WRONG, "the claim filename is not the path's name")
    size = _filesize(claims)
    if head.body_length not in {None, size}:
        raise Refused(LENGTH_REQUIRED if head.length is None else SIZE_MISMATCH)
    return Grant(
        dialect="jwt",
        size=size,
        content_type=text.servable(jose.string(claims, "filetype")),
        owner=owner(claims),
        expires=float(jose.number(claims, "expires")) if "expires" in claims else None,
    )


def owner(claims: dict[str, Any]) -> str:
    """Return the uploader, `sub`; "" if there is none. Raises JWT_WRONG if it cannot be a JID."""
    if "sub" not in claims:
        return ""
    subject = jose.string(claims, "sub")
    if not text.is_plain(subject):
        raise Refused(JWT_WRONG, "the claim sub holds control characters")
    return subject


def sign(secret: Secret, request: SlotRequest, *, now: float, ttl_s: float) -> str:
    """Return the token that lets a file ("SLOT/NAME") be uploaded up to `now` + `ttl_s`."""
    slot, _, name = request.rel.partition("/")
    claims: dict[str, object] = {
        "iat": int(now),
        "exp": int(now + ttl_s),
        "slot": slot,
        "filename": name,
        "filesize": request.size,
        "filetype": request.content_type or "application/octet-stream",
    }
    return jose.sign(claims, secret)


def _filesize(claims: dict[str, Any]) -> int:
    size = jose.number(claims, "filesize")
    # Lua has floats only before 5.3, so an integral 12.0 is a 12.
    if size != int(size):
        raise Refused(JWT_WRONG, "the claim filesize is not a whole number")
    return int(size)
