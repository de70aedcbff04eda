"""What of the Go server's own dialects can be kept safely; off unless an endpoint names them.

v3 with its expiry signed, bearer MACs of forms 1 and 3, and its plain JWT with exp. Its other forms
bind no path, no size or no time, so they verify nothing here: path-only and type-less fallbacks,
X-Signature, v3 without expires, bearer forms 2, 4 and 5, session recovery, grace periods.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.auth import expiry, jose, keyring, prosody, share, text
from hmacfs.errors import JWT_WRONG, TOKEN_EXPIRED, TOKEN_WRONG, Refused
from hmacfs.model import Grant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.model import Endpoint, Head, Secret, Slot

HOUR_S: Final = 3600
"""Validity of a form 3 token: it signs its issue time, expiry - HOUR_S."""
DAY_S: Final = 86400
"""Validity of a form 1 token: it signs its issue time, expiry - DAY_S, and its expiry."""


def message_v3(rel: str, expires: int) -> bytes:
    """Return what v3 signs of an upload: "PUT LF EXPIRES LF /PATH"."""
    return f"PUT\n{expires}\n/{rel}".encode()


def message_resilient(user: str, name: str, size: int, until: int) -> bytes:
    """Return what form 1 signs (its ejabberd module's network_resilient variant)."""
    return f"{user}\0{name}\0{size}\0{until - DAY_S}\0{until}\0network_resilient".encode()


def message_standard(user: str, name: str, size: int, until: int) -> bytes:
    """Return what form 3 signs (its ejabberd module's plain variant)."""
    return f"{user}\0{name}\0{size}\0{until - HOUR_S}".encode()


def verify_v3(head: Head, slot: Slot, given: Mapping[str, str], *, now: float) -> Grant:
    """Return the grant of `?v3=&expires=`, whose size is the body's: v3 signs none.

    Raises TOKEN_WRONG or TOKEN_EXPIRED.
    """
    until = expiry.seconds(given.get("expires", ""))
    if until is None:
        raise Refused(TOKEN_WRONG)
    mac = keyring.from_hex(given["v3"])
    if not keyring.verifies(slot.endpoint.secrets, message_v3(slot.rel, until), mac):
        raise Refused(TOKEN_WRONG)
    if expiry.is_past(until, now):
        raise Refused(TOKEN_EXPIRED)
    return Grant(dialect="v3", size=head.body_length, content_type=None)


class BearerMac(NamedTuple):
    """A bearer token that is no JWT, and the parameters of the query that belong to it."""

    token: str
    given: Mapping[str, str]


def verify_bearer(head: Head, endpoint: Endpoint, name: str, bearer: BearerMac, *, now: float) -> Grant:
    """Return the grant of a bearer MAC over user, `name` (last segment), Content-Length and time.

    Raises LENGTH_REQUIRED, JWT_WRONG or TOKEN_EXPIRED.
    """
    size = prosody.length(head)
    user, until = bearer.given.get("user", ""), expiry.seconds(bearer.given.get("expiry", ""))
    # A NUL in the user would shift the fields of the message.
    if not user or not text.is_plain(user) or until is None:
        raise Refused(JWT_WRONG)
    mac = _from_base64(bearer.token)
    # Both forms are always computed: the time taken does not tell which one it was.
    daily = keyring.verifies(endpoint.secrets, message_resilient(user, name, size, until), mac)
    hourly = keyring.verifies(endpoint.secrets, message_standard(user, name, size, until), mac)
    if not (daily or hourly):
        raise Refused(JWT_WRONG)
    if expiry.is_past(until, now):
        raise Refused(TOKEN_EXPIRED)
    if expiry.is_future(until - (DAY_S if daily else HOUR_S), now):
        raise Refused(JWT_WRONG, "the token is issued in the future")
    return Grant(dialect="bearer", size=size, content_type=None, owner=user)


def verify_jwt(endpoint: Endpoint, token: str, size: int | None, *, now: float) -> Grant:
    """Return the grant of a JWT that names neither path nor size; `size` is the request's own.

    Raises JWT_WRONG or TOKEN_EXPIRED.
    """
    claims = jose.verified(token, endpoint.secrets, jose.ALGORITHMS, now=now)
    # A slot's token is for that slot; under a shared secret it must not open everything.
    if "slot" in claims:
        raise Refused(JWT_WRONG, "the token is for one slot and not for this protocol")
    return Grant(dialect="gojwt", size=size, content_type=None, owner=share.owner(claims))


def sign_jwt(secret: Secret, *, now: float, ttl_s: float) -> str:
    """Return a JWT that lets anything be uploaded up to `now` + `ttl_s`; keep it short-lived."""
    return jose.sign({"iat": int(now), "exp": int(now + ttl_s)}, secret)


def _from_base64(token: str) -> bytes:
    try:
        mac = base64.b64decode(token, validate=True)
    except ValueError:
        return b""
    # Only the one canonical spelling: unused low bits of the last character must be zero.
    return mac if base64.b64encode(mac).decode() == token else b""
