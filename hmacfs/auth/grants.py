"""Which dialect a request speaks, decided before anything is verified, and never a second try.

Order: v2, v, token, v3 (query), then the Authorization field. Only dialects that the endpoint
enables count; if the chosen one fails, the request is refused, whatever else it carries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hmacfs.auth import jose, metronome, original, prosody, query, share, text
from hmacfs.errors import JWT_MISSING, JWT_WRONG, METHOD_NOT_ALLOWED, TOKEN_MISSING, Refused
from hmacfs.model import XMPP_DIALECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.model import Endpoint, Grant, Head, Slot

_BY_QUERY: Final = frozenset({*XMPP_DIALECTS, "v3"})
_BY_FIELD: Final = ("jwt", "bearer", "gojwt")
_FORM_NAME: Final = "upload"  # last segment of the path that takes forms


def upload(head: Head, slot: Slot, *, now: float) -> Grant:
    """Return what the request's token permits to PUT into `slot` at `now` (wall clock).

    Raises Refused: METHOD_NOT_ALLOWED, BAD_PATH, QUERY_MALFORMED, LENGTH_REQUIRED, SIZE_MISMATCH,
    TOKEN_MISSING, TOKEN_WRONG, TOKEN_EXPIRED, JWT_MISSING or JWT_WRONG. LENGTH_REQUIRED for a chunked body
    says that the token can be judged once its length is known.
    """
    _demand_method(head, "PUT")
    text.demand_plain_path(slot.rel)
    given = query.parameters(head.query)
    if (grant := _by_query(head, slot, given, now)) is not None:
        return grant
    token, dialect = _bearer(head, slot.endpoint)
    if dialect == "jwt":
        return share.verify(head, slot, token, now=now)
    if dialect == "gojwt":
        return original.verify_jwt(slot.endpoint, token, head.body_length, now=now)
    return original.verify_bearer(head, slot.endpoint, slot.name, original.BearerMac(token, given), now=now)


def slot_dialects(head: Head) -> frozenset[str]:
    """Return which dialects of signed PUT URLs the query may be of. Raises Refused QUERY_MALFORMED."""
    return _BY_QUERY.intersection(query.parameters(head.query))


def delete(head: Head, slot: Slot, *, now: float) -> None:  # noqa: ARG001 - Metronome's token has no time
    """Return if the request may DELETE the file in `slot`.

    Raises Refused: METHOD_NOT_ALLOWED if the endpoint offers no DELETE, else BAD_PATH,
    QUERY_MALFORMED, TOKEN_MISSING or TOKEN_WRONG.
    """
    secret = slot.endpoint.delete_secret
    if secret is None or "token" not in slot.endpoint.protocols:
        raise Refused(METHOD_NOT_ALLOWED, fields=(("Allow", "GET, HEAD, OPTIONS, PUT"),))
    _demand_method(head, "DELETE")
    text.demand_plain_path(slot.rel)
    given = query.parameters(head.query)
    if "token" not in given:
        raise Refused(TOKEN_MISSING)
    metronome.verify_delete(slot, secret, given["token"])


def form(head: Head, endpoint: Endpoint, *, now: float) -> Grant:
    """Return what a POST of a multipart form to /upload may store; its `size` is None.

    Raises Refused: METHOD_NOT_ALLOWED, QUERY_MALFORMED, LENGTH_REQUIRED (bearer only),
    TOKEN_MISSING, TOKEN_EXPIRED, JWT_MISSING or JWT_WRONG.
    """
    _demand_method(head, "POST")
    given = query.parameters(head.query)
    token, dialect = _bearer(head, endpoint)
    if dialect == "gojwt":
        return original.verify_jwt(endpoint, token, None, now=now)
    if dialect == "jwt":  # a slot's token: it is for a PUT
        raise Refused(JWT_WRONG)
    grant = original.verify_bearer(head, endpoint, _FORM_NAME, original.BearerMac(token, given), now=now)
    # The signed size is the whole form's, not the file's.
    return replace(grant, size=None)


def _by_query(head: Head, slot: Slot, given: Mapping[str, str], now: float) -> Grant | None:
    enabled = slot.endpoint.protocols
    if "v2" in given and "v2" in enabled:
        return prosody.verify_v2(head, slot, given["v2"])
    if "v" in given and "v" in enabled:
        return prosody.verify_v(head, slot, given["v"])
    if "token" in given and "token" in enabled:
        return metronome.verify_put(head, slot, given["token"])
    if "v3" in given and "v3" in enabled:
        return original.verify_v3(head, slot, given, now=now)
    return None


def _bearer(head: Head, endpoint: Endpoint) -> tuple[str, str]:
    """Return the bearer token and the one dialect it is to be verified by."""
    enabled = [dialect for dialect in _BY_FIELD if dialect in endpoint.protocols]
    if not enabled:
        raise Refused(TOKEN_MISSING)
    scheme, _, rest = head.fields.get(b"authorization", b"").partition(b" ")
    token = rest.strip(b" \t").decode("latin-1")
    if scheme.lower() != b"bearer" or not token:
        raise Refused(JWT_MISSING)
    if not jose.has_shape(token):
        enabled = [dialect for dialect in enabled if dialect == "bearer"]
    elif "jwt" in enabled and "gojwt" in enabled:
        claims = jose.signed(token, endpoint.secrets, jose.ALGORITHMS)
        enabled = ["jwt" if "slot" in claims else "gojwt"]
    else:
        enabled = [dialect for dialect in enabled if dialect != "bearer"]
    if not enabled:
        raise Refused(JWT_WRONG)
    return token, enabled[0]


def _demand_method(head: Head, method: str) -> None:
    # No HMAC form but v3 signs the method, so a token must not do for another one.
    if head.method != method:
        raise Refused(METHOD_NOT_ALLOWED, fields=(("Allow", method),))
