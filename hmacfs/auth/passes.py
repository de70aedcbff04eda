"""The token of an endpoint for resumable uploads (protocol "tus"), and what tells one bearer from another.

A JWT whose claims are sub (whose uploads they are), exp, and if it likes max_size (bytes), name, type and
expires (when the file must be gone, seconds of the epoch). It may begin uploads there and go on with those of
the same sub until exp; a client may present a newer one of the same sub meanwhile.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hmacfs.auth import jose, query, share, text
from hmacfs.errors import JWT_MISSING, JWT_WRONG, Refused

if TYPE_CHECKING:
    from hmacfs.model import Endpoint, Head, Secret

_REMEMBERED: Final = 1024


@dataclass(slots=True, kw_only=True)
class Pass:
    """What the token permits."""

    owner: str
    """Whose uploads these are: sub."""
    most: int | None
    """Bytes of a file at most; None: what the server takes."""
    name: str | None
    """Name of the file, if the token decides that."""
    content_type: str | None
    """Type of the file, if the token decides that."""
    expires: float | None
    """Wall-clock time at which the file must be gone."""


def verify(head: Head, endpoint: Endpoint, *, now: float) -> Pass:
    """Return what the request's bearer token permits; raises JWT_MISSING, JWT_WRONG, TOKEN_EXPIRED."""
    scheme, _, token = head.fields.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Refused(JWT_MISSING)
    claims = _claims(token.strip(b" \t").decode("latin-1"), endpoint.secrets)
    jose.check_times(claims, now)
    if "slot" in claims:
        raise Refused(JWT_WRONG, "the token is for one slot and not for this protocol")
    owner = share.owner(claims)
    if not owner:
        raise Refused(JWT_WRONG, "the claim sub is missing or empty")
    return Pass(
        owner=owner,
        most=int(jose.number(claims, "max_size")) if "max_size" in claims else None,
        name=jose.string(claims, "name") if "name" in claims else None,
        content_type=text.servable(jose.string(claims, "type")) if "type" in claims else None,
        expires=float(jose.number(claims, "expires")) if "expires" in claims else None,
    )


@functools.lru_cache(maxsize=_REMEMBERED)
def _claims(token: str, secrets: tuple[Secret, ...]) -> dict[str, Any]:
    """Return the claims of a token that one of `secrets` signed. Raises JWT_WRONG, which is not remembered.

    Each chunk of an upload comes with the same token.
    """
    return jose.signed(token, secrets, jose.ALGORITHMS)


def sign(secret: Secret, owner: str, *, now: float, ttl_s: float, **claims: Any) -> str:
    """Return a token that lets `owner` upload up to `now` + `ttl_s`; `claims` are more of those above."""
    return jose.sign({"sub": owner, "iat": int(now), "exp": int(now + ttl_s), **claims}, secret)


def fingerprint(head: Head) -> str:
    """Return what tells the token of a request from every other, and gives no hint of it; "" if it has none.

    Raises QUERY_MALFORMED.
    """
    shown = [*sorted(query.parameters(head.query).items())]
    bearer = head.fields.get(b"authorization", b"").decode("latin-1")
    if not (shown or bearer):
        return ""
    return hashlib.sha256(json.dumps([shown, bearer]).encode()).hexdigest()
