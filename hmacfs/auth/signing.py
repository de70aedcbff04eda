"""Tokens made rather than verified: for `hmacfs sign`, tests and load."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib import parse

from hmacfs.auth import keyring, original, prosody, share, text

if TYPE_CHECKING:
    from hmacfs.auth.slot_request import SlotRequest
    from hmacfs.model import Endpoint, Secret

_USER: Final = "hmacfs"
"""Whom a bearer token that we sign ourselves names as uploader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a client adds to the URL and to its PUT."""

    query: str
    """Follows the "?"; "" if the token goes into a field."""
    fields: list[tuple[str, str]]
    """Header fields to send exactly so."""


def sign(dialect: str, endpoint: Endpoint, request: SlotRequest, *, now: float, ttl_s: float) -> Signed:
    """Sign the upload that is asked for with the endpoint's first secret.

    v, v2 and token never expire, so they ignore `ttl_s`; bearer ends within a day. Raises ValueError
    for an unknown dialect or what the dialect cannot sign, Refused BAD_PATH for a path that cannot be.
    """
    rel, size, content_type = request
    text.demand_plain_path(rel)
    if not text.is_plain_type(content_type.encode()) or content_type.strip(" \t") != content_type:
        raise ValueError("a content type holds no control characters and no outer white space")
    secret = endpoint.secrets[0]
    typed = [("Content-Type", content_type)] if content_type else []
    match dialect:
        case "v":
            return _in_query("v", secret, prosody.message_v(rel, size), typed)
        case "v2" | "token":
            return _in_query(dialect, secret, prosody.message_v2(rel, size, content_type.encode()), typed)
        case "v3":
            until = int(now + ttl_s)
            signed = _in_query("v3", secret, original.message_v3(rel, until), typed)
            return Signed(query=f"{signed.query}&expires={until}", fields=signed.fields)
        case "jwt":
            token = share.sign(secret, request, now=now, ttl_s=ttl_s)
            return Signed(query="", fields=[("Authorization", f"Bearer {token}"), *typed])
        case "gojwt":
            token = original.sign_jwt(secret, now=now, ttl_s=ttl_s)
            return Signed(query="", fields=[("Authorization", f"Bearer {token}"), *typed])
        case "bearer":
            return _bearer(secret, request, typed, now=now, ttl_s=ttl_s)
        case _:
            raise ValueError(f"{dialect!r} is no token dialect")


def _in_query(name: str, secret: Secret, message: bytes, fields: list[tuple[str, str]]) -> Signed:
    return Signed(query=f"{name}={keyring.sign(secret, message).hex()}", fields=fields)


def _bearer(
    secret: Secret, request: SlotRequest, fields: list[tuple[str, str]], *, now: float, ttl_s: float
) -> Signed:
    if ttl_s > original.DAY_S:
        raise ValueError("a bearer token lasts a day at most")
    name, until = request.rel.rpartition("/")[2], int(now + ttl_s)
    form = original.message_standard if ttl_s <= original.HOUR_S else original.message_resilient
    mac = base64.b64encode(keyring.sign(secret, form(_USER, name, request.size, until))).decode()
    query = parse.urlencode({"user": _USER, "expiry": until})
    return Signed(query=query, fields=[("Authorization", f"Bearer {mac}"), *fields])
