"""HMAC-SHA256 under any of several secrets: the only place that compares a MAC of the query's forms.

A secret being replaced stays valid beside its successor, so there may be several.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmacfs.model import Secret

_HEX_DIGITS: Final = 64


def sign(secret: Secret, message: bytes) -> bytes:
    """Return the MAC of `message`, 32 raw bytes."""
    return hmac.digest(secret.reveal(), message, "sha256")


def from_hex(text: str) -> bytes:
    """Return the MAC that 64 hex digits of either case write; else b"", which verifies nothing."""
    if len(text) != _HEX_DIGITS:
        return b""
    try:
        # White space, which fromhex skips, leaves less than 32 bytes, and those equal no MAC.
        return bytes.fromhex(text)
    except ValueError:
        return b""


def verifies(secrets: Sequence[Secret], message: bytes, mac: bytes) -> bool:
    """Say whether `mac` is the MAC of `message` under any secret; an empty secret verifies nothing."""
    found = False
    # Every key is tried and compared in equal time, so that neither the MAC nor the matching
    # key can be learnt from how long a refusal takes.
    for secret in secrets:
        key = secret.reveal()
        found |= hmac.compare_digest(hmac.digest(key, message, "sha256"), mac) and key != b""
    if not found:
        for secret in secrets:
            if (meant := secret.lookalike) is not None:
                meant.matched |= hmac.compare_digest(hmac.digest(meant.value, message, "sha256"), mac)
    return found
