"""The token's parameters out of a query, strictly, so that no two readers can see two tokens.

`http` has a parser of its own, which may be lenient where this one must not be.
"""

from __future__ import annotations

import re
from typing import Final
from urllib import parse

from hmacfs.errors import QUERY_MALFORMED, Refused

NAMES: Final = frozenset({"v", "v2", "token", "v3", "expires", "user", "expiry"})
"""What any dialect reads; everything else in the query is not looked at."""

PARAMETERS_MOST: Final = 64
ESCAPES_MOST: Final = 1024
"""What is decoded costs a quarter of a microsecond for each escape; the longest value in use is a JID."""

_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


def parameters(query: str) -> dict[str, str]:
    """Return the parameters among NAMES, decoded once; a "+" stays a plus (Base64 comes unescaped).

    Raises Refused QUERY_MALFORMED for a bad escape anywhere, for one of NAMES twice and for what is too much.
    """
    found: dict[str, str] = {}
    if not query:
        return found
    if query.count("&") > PARAMETERS_MOST or query.count("%") > ESCAPES_MOST:
        raise Refused(QUERY_MALFORMED, "there are too many parameters or escapes")
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if "%" in part:
            name, value = _decoded(name), _decoded(value)
        if name not in NAMES:
            continue
        if name in found:
            raise Refused(QUERY_MALFORMED, f"{name} is given more than once")
        found[name] = value
    return found


def _decoded(text: str) -> str:
    decoded = None
    if not _BAD_ESCAPE.search(text):
        try:
            decoded = parse.unquote(text, errors="strict")
        except UnicodeDecodeError:
            decoded = None
    # Raised here and not above, so that no chained exception carries the client's text.
    if decoded is None:
        raise Refused(QUERY_MALFORMED, "an escape is not % and two hex digits of UTF-8")
    return decoded
