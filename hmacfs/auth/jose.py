"""A JSON Web Token read strictly: HMAC only, the algorithm from us, the signature through PyJWT.

Knows no claim but the times; what a token permits is its dialect's business. Keys named or brought
by a token (jwk, jku, kid, x5c, x5u) are never looked at.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Final

from jwt import InvalidKeyError, PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm

from hmacfs.auth import expiry
from hmacfs.errors import JWT_WRONG, TOKEN_EXPIRED, Refused
from hmacfs.model import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN_LIMIT: Final = 8192
"""Longest token read, in characters: a 255-byte name and a 3071-byte JID, JSON-escaped, fit."""
NUMBER_LIMIT: Final = 2**53
"""Largest number a claim may hold: JSON numbers are exact up to here (RFC 8259 6)."""

# A lone crit or b64 changes what the signature means (RFC 7515 4.1.11, RFC 7797); we know no extension.
_REFUSED_HEADERS: Final = ("crit", "b64")
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class _Hmac(HMACAlgorithm):
    """HMAC under the configured bytes as they are, as the issuers use them.

    PyJWT's guesses about a key's kind and length guard against a public key used as a secret; here
    no asymmetric algorithm exists to be confused with, and `config` has judged the secret's strength.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        if not isinstance(key, bytes) or not key:
            raise InvalidKeyError("an HMAC secret is bytes and not empty")
        return key

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002 - PyJWT's signature
        return None


def _hmac_only() -> PyJWS:
    jws = PyJWS(algorithms=[])
    jws.register_algorithm("HS256", _Hmac(HMACAlgorithm.SHA256))
    jws.register_algorithm("HS384", _Hmac(HMACAlgorithm.SHA384))
    jws.register_algorithm("HS512", _Hmac(HMACAlgorithm.SHA512))
    return jws


_JWS: Final = _hmac_only()


def has_shape(token: str) -> bool:
    """Say whether a bearer token is meant as a JWT: three parts between dots."""
    return token.count(".") == 2  # noqa: PLR2004 - header.payload.signature


def sign(claims: dict[str, Any], secret: Secret) -> str:
    """Give the HS256 token of `claims`, as Prosody's util.jwt makes it."""
    payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    return _JWS.encode(payload, secret.reveal(), algorithm="HS256")


def unverified(token: str) -> dict[str, Any]:
    """Give the claims of a well-formed token, to choose its dialect by and nothing else.

    Raises JWT_WRONG.
    """
    return _read(token)[1]


def verified(
    token: str, secrets: Sequence[Secret], algorithms: Sequence[str], *, now: float
) -> dict[str, Any]:
    """Give the claims of a token that one of `secrets` signed and that is valid `now`.

    Raises JWT_WRONG, or TOKEN_EXPIRED if nothing but the time is wrong.
    """
    claims = signed(token, secrets, algorithms)
    check_times(claims, now)
    return claims


def signed(token: str, secrets: Sequence[Secret], algorithms: Sequence[str]) -> dict[str, Any]:
    """Give the claims of a token that one of `secrets` signed, whenever it is valid. Raises JWT_WRONG."""
    header, claims = _read(token)
    # Newer PyJWT refuses some of these too; we rely on none of its releases for it.
    if any(name in header for name in _REFUSED_HEADERS):
        raise Refused(JWT_WRONG)
    found = False
    # All keys are tried, so that the time taken does not tell which one matched.
    for secret in secrets:
        found |= _signed(token, secret, algorithms)
    if not found:
        for secret in secrets:
            if (meant := secret.lookalike) is not None:
                meant.matched |= _signed(token, Secret(meant.value), algorithms)
        raise Refused(JWT_WRONG)
    return claims


def check_times(claims: dict[str, Any], now: float) -> None:
    """Raise JWT_WRONG or TOKEN_EXPIRED unless the token of these claims is valid `now`, and for us.

    exp is demanded, nbf obeyed, and aud refused, as RFC 7519 4.1.3 demands of whoever is not named in it.
    """
    if "aud" in claims:
        raise Refused(JWT_WRONG, "the token is meant for another audience")
    if "nbf" in claims and expiry.is_future(number(claims, "nbf"), now):
        raise Refused(JWT_WRONG, "the token is not valid yet")
    if expiry.is_past(number(claims, "exp"), now):
        raise Refused(TOKEN_EXPIRED)


def number(claims: dict[str, Any], name: str) -> float:
    """Give the claim, a number from 0 to NUMBER_LIMIT; raises JWT_WRONG."""
    value = claims.get(name)
    # bool is an int to Python, not to JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NUMBER_LIMIT:
        raise Refused(JWT_WRONG, f"the claim {name} is missing or is not a number in range")
    return value


def string(claims: dict[str, Any], name: str) -> str:
    """Give the claim, a string; raises JWT_WRONG."""
    value = claims.get(name)
    if not isinstance(value, str):
        raise Refused(JWT_WRONG, f"the claim {name} is missing or is not a string")
    return value


def _signed(token: str, secret: Secret, algorithms: Sequence[str]) -> bool:
    try:
        # The list is ours: a token chooses at most among what its dialect allows.
        _JWS.decode_complete(token, secret.reveal(), algorithms=algorithms)
    except (PyJWTError, RecursionError):  # older PyJWT lets the latter through
        return False
    return True


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = None
    if len(token) <= TOKEN_LIMIT and _SHAPE.fullmatch(token):
        try:
            header, payload, _signature = map(_octets, token.split("."))
            parts = _json_object(header), _json_object(payload)
        except (ValueError, RecursionError):  # RecursionError: brackets nested past the interpreter's limit
            parts = None
    # Raised here and not above, so that no chained exception carries the token's text.
    if parts is None:
        raise Refused(JWT_WRONG)
    return parts


def _octets(part: str) -> bytes:
    octets = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    # Unused low bits of the last character would let one token be written in several ways.
    if base64.urlsafe_b64encode(octets).rstrip(b"=").decode() != part:
        raise ValueError("not canonical base64url")
    return octets


def _json_object(octets: bytes) -> dict[str, Any]:
    # Decoded here, since json.loads takes UTF-16 as well (RFC 8259 8.1 does not).
    value = json.loads(octets.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - caught beside json's own ValueError
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # Two readers may take two different ones of them (RFC 8259 4, RFC 7515 4).
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
