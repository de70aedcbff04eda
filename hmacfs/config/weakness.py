"""Which secrets are too weak to guard a server: short, guessable, or printed in somebody's example."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import Final

LEAST_BYTES: Final = 32
"""As many as HMAC-SHA256 puts out: shorter keys are discouraged (RFC 2104 3)."""

# Letters and digits of examples and templates, without case and punctuation. Each is long enough not to
# turn up by chance in a random secret.
_EXAMPLES: Final = (
    "anothersecret",
    "averysecure",
    "changeit",
    "changeme",
    "changethis",
    "defaultsecret",
    "examplesecret",
    "hmacfileserver",
    "insecure",
    "itissecret",
    "mysecret",
    "password",
    "placeholder",
    "replaceme",
    "replacethis",
    "replacewith",
    "secretkey",
    "secretstring",
    "stronglyrandom",
    "supersecret",
    "testsecret",
    "thisisasecret",
    "topsecret",
    "yoursecret",
    "yoursecure",
    "yourstrong",
    "yourverysecret",
)
# SHA-256 of secrets that look random but stand in public templates of the Go server.
_PUBLISHED: Final = frozenset(
    {
        "9e1090c8e3720f8c94b48b5b27c89a7c9083ae6b6f309c479b741971ad57bdd8",
    }
)
_PUNCTUATION: Final = re.compile(rb"[^a-z0-9]+")
_LEAST_DIFFERENT: Final = 8
"""Different bytes: 32 random hexadecimal digits hold 14 of 16 on average, fewer than 8 practically never."""


def of(secret: bytes) -> str:
    """Say why `secret` is weak; "" if nothing is known against it."""
    plain = _PUNCTUATION.sub(b"", secret.lower()).decode("ascii")
    if any(example in plain for example in _EXAMPLES):
        return "an example or a placeholder"
    if hashlib.sha256(secret).hexdigest() in _PUBLISHED:
        return "published in a template"
    if len(secret) < LEAST_BYTES:
        return f"only {len(secret)} bytes long"
    if len(set(secret)) < _LEAST_DIFFERENT:
        return "made of too few different characters"
    if _repeats(secret) or _runs(secret):
        return "a regular sequence"
    return ""


def _repeats(secret: bytes) -> bool:
    """Tell whether the secret is one shorter piece again and again."""
    return any(secret[period:] == secret[:-period] for period in range(1, len(secret) // 2 + 1))


def _runs(secret: bytes) -> bool:
    """Tell whether most bytes follow the one before them, as in 0123 and abcd."""
    steps = sum(1 for one, two in itertools.pairwise(secret) if abs(two - one) == 1)
    return steps * 4 > len(secret) * 3
