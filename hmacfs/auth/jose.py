"""A JSON Web Token read strictly: HMAC only, the algorithm from us, the signature before the claims.

Knows no claim but the times; what a token permits is its dialect's business. Keys named or brought
by a token (jwk, jku, kid, x5c, x5u) are never looked at. The token is taken apart once: PyJWT, whose
MACs these are, does so for each key, which takes 0.4 ms of a stranger's longest one; a MAC takes a fortieth.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Final

from jwt import InvalidKeyError, PyJWS
from jwt.algorithms import HMACAlgorithm

from hmacfs.auth import expiry
from hmacfs.errors import JWT_WRONG, TOKEN_EXPIRED, Refused
from hmacfs.model import JWT_ALGORITHM, Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN_LIMIT: Final = 8192
"""Longest token read, in characters: a 255-byte name and a 3071-byte JID, JSON-escaped, fit."""
NUMBER_LIMIT: Final = 2**53
"""Largest number a claim may hold: JSON numbers are exact up to here (RFC 8259 6)."""

# A lone crit or b64 changes what the signature means (RFC 7515 4.1.11, RFC 7797); we know no extension.
_REFUSED_HEADERS: Final = ("crit", "b64")
_HEADER_LIMIT: Final = 512
"""Longest header read, in characters: two members are what anybody needs."""
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


_MACS: Final = {
    JWT_ALGORITHM: _Hmac(HMACAlgorithm.SHA256),
    "HS384": _Hmac(HMACAlgorithm.SHA384),
    "HS512": _Hmac(HMACAlgorithm.SHA512),
}
ALGORITHMS: Final = tuple(_MACS)
"""All that are known."""


def _hmac_only() -> PyJWS:
    jws = PyJWS(algorithms=[])
    for name, mac in _MACS.items():
        jws.register_algorithm(name, mac)
    return jws


_JWS: Final = _hmac_only()


def has_shape(token: str) -> bool:
    """Say whether a bearer token is meant as a JWT: three parts between dots."""
    return token.count(".") == 2  # noqa: PLR2004 - header.payload.signature


def sign(claims: dict[str, Any], secret: Secret) -> str:
    """Return the HS256 token of `claims`, as Prosody's util.jwt makes it."""
    payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    return _JWS.encode(payload, secret.reveal(), algorithm=JWT_ALGORITHM)


def verified(
    token: str, secrets: Sequence[Secret], algorithms: Sequence[str], *, now: float
) -> dict[str, Any]:
    """Return the claims of a token that one of `secrets` signed and that is valid `now`.

    Raises JWT_WRONG, or TOKEN_EXPIRED if nothing but the time is wrong.
    """
    claims = signed(token, secrets, algorithms)
    check_times(claims, now)
    return claims


def signed(token: str, secrets: Sequence[Secret], algorithms: Sequence[str]) -> dict[str, Any]:
    """Return the claims of a token that one of `secrets` signed, whenever it is valid. Raises JWT_WRONG.

    Until then nothing but its header is read: of a stranger's claims there may be thousands.
    """
    claims = None
    if len(token) <= TOKEN_LIMIT and _SHAPE.fullmatch(token):
        try:
            header, payload, signature = token.split(".")
            if _is_signed(header, payload, signature, secrets, algorithms):
                claims = _json_object(_octets(payload))
        except (ValueError, RecursionError):  # RecursionError: brackets nested past the interpreter's limit
            claims = None
    # Raised here and not above, so that no chained exception carries the token's text.
    if claims is None:
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
    """Return the claim, a number from 0 to NUMBER_LIMIT; raises JWT_WRONG."""
    value = claims.get(name)
    # bool is an int to Python, not to JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NUMBER_LIMIT:
        raise Refused(JWT_WRONG, f"the claim {name} is missing or is not a number in range")
    return value


def string(claims: dict[str, Any], name: str) -> str:
    """Return the claim, a string; raises JWT_WRONG."""
    value = claims.get(name)
    if not isinstance(value, str):
        raise Refused(JWT_WRONG, f"the claim {name} is missing or is not a string")
    return value


def _is_signed(
    header: str, payload: str, signature: str, secrets: Sequence[Secret], algorithms: Sequence[str]
) -> bool:
    """Return whether one of `secrets` made the signature (RFC 7515 5.2). Raises ValueError."""
    if len(header) > _HEADER_LIMIT:
        return False
    named = _json_object(_octets(header))
    # The list is ours: a token chooses at most among what its dialect allows.
    if any(name in named for name in _REFUSED_HEADERS) or named.get("alg") not in algorithms:
        return False
    mac = _MACS[named["alg"]]
    message, sent, found = f"{header}.{payload}".encode(), _octets(signature), False
    # All keys are tried, so that the time taken does not tell which one matched.
    for secret in secrets:
        key = secret.reveal()
        found |= mac.verify(message, key, sent) and key != b""
    if not found:
        for secret in secrets:
            if (meant := secret.lookalike) is not None:
                meant.matched |= mac.verify(message, Secret(meant.value).reveal(), sent)
    return found


def _encoded(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _octets(part: str) -> bytes:
    octets = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    # Unused low bits of the last character would let one token be written in several ways.
    if _encoded(octets).decode() != part:
        raise ValueError("not canonical base64url")
    return octets


def _json_object(octets: bytes) -> dict[str, Any]:
    # Decoded here, since json.loads takes UTF-16 as well (RFC 8259 8.1 does not).
    value = json.loads(octets.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - caught beside json's own ValueError
    if b"\\u" in octets:
        # A lone surrogate is no character: readers differ in what they take it for (RFC 8259 8.2).
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # Two readers may take two different ones of them (RFC 8259 4, RFC 7515 4).
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
