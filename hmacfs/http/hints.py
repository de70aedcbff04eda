"""What a request lets suspect of its client's line: fields in, a guess out.

Client hints of the Network Information API (Save-Data, ECT, Downlink, RTT) and the User-Agent. A client
may write there what it likes, so this is for choices that do no harm if they are wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER: Final = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,3})?")
_MOBILE: Final = re.compile(rb"Android|iPhone|iPad|Mobile|Conversations|Monocles|Siskin")
_AGENT_BYTES: Final = 512
"""So much of a User-Agent is looked at."""
_MEGABIT_BYTES: Final = 1_000_000 / 8
# The effective connection types' own bounds (Network Information API, "table of effective connection
# types"): most bytes a second, least round trip.
_TYPES: Final = {
    b"slow-2g": (0.05 * _MEGABIT_BYTES, 2.0),
    b"2g": (0.07 * _MEGABIT_BYTES, 1.4),
    b"3g": (0.7 * _MEGABIT_BYTES, 0.27),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """A guess; what is None was not even hinted at."""

    rate: float | None = None
    """Bytes per second."""
    round_trip_s: float | None = None
    frugal: bool = False
    """Whether its bytes cost money (Save-Data), or it looks like a phone."""


def read(fields: Mapping[bytes, bytes]) -> Hints:
    """Return what the fields of a request hint at; what is malformed hints at nothing."""
    rate, round_trip_s = _TYPES.get(fields.get(b"ect", b"").lower(), (None, None))
    if downlink := _number(fields.get(b"downlink")):
        rate = downlink * _MEGABIT_BYTES
    if milliseconds := _number(fields.get(b"rtt")):
        round_trip_s = milliseconds / 1000
    saves = fields.get(b"save-data", b"").lower() == b"on"
    return Hints(
        rate=rate,
        round_trip_s=round_trip_s,
        frugal=saves or _MOBILE.search(fields.get(b"user-agent", b""), 0, _AGENT_BYTES) is not None,
    )


def _number(value: bytes | None) -> float | None:
    """Read a plain number; 0, which browsers round small ones to, tells nothing."""
    return float(value) or None if value is not None and _NUMBER.fullmatch(value) else None
