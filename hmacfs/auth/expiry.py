"""When a token ends: one leeway for every dialect, which no client can stretch."""

from __future__ import annotations

import re
from typing import Final

LEEWAY_S: Final = 60.0
"""How far the issuer's clock may be off (RFC 7519 4.1.4: "no more than a few minutes")."""

_SECONDS: Final = re.compile("[1-9][0-9]{0,11}")


def is_past(until: float, now: float) -> bool:
    """Say whether `until` (wall clock, seconds) is past, leeway granted."""
    return now > until + LEEWAY_S


def is_future(since: float, now: float) -> bool:
    """Say whether `since` (wall clock, seconds) is still to come, leeway granted."""
    return since > now + LEEWAY_S


def seconds(text: str) -> int | None:
    """Return the seconds that a canonical decimal writes; None for any other spelling."""
    return int(text) if _SECONDS.fullmatch(text) else None
