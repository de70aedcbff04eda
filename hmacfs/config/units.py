"""Sizes and durations as people write them: text to numbers and back. Knows no key and no file.

KB, MB, GB and TB are powers of 1024, as the Go server has them; KiB, MiB, ... are the same.
Durations are Go's ("1h30m", "720h", "250ms") with d, w and y (365 days) besides.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from hmacfs.model import GiB, KiB, MiB, TiB

SIZE_WORDS: Final = 'a size such as "10GB", "512 KiB" or a number of bytes'
DURATION_WORDS: Final = 'a duration such as "30s", "1h30m", "7d" or a number of seconds'

# Beyond any disk and any life; also keeps every number in what SQLite and the kernel take.
MOST: Final = 2**62

_SIZES: Final = {"": 1, "b": 1, "k": KiB, "m": MiB, "g": GiB, "t": TiB}
_DURATIONS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
    "w": Decimal(7 * 86_400),
    "y": Decimal(365 * 86_400),
}
# Digits are few enough that Decimal's 28 places hold the product with a unit exactly.
_NUMBER: Final = r"[0-9]{1,19}(?:\.[0-9]{1,9})?"
_SIZE: Final = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>[kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_PART: Final = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>ms|[smhdwy])", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,330})?", re.ASCII)
_SECONDS_WITH_UNIT: Final = re.compile(r"(?P<number>[0-9]{1,19}(?:\.[0-9]{1,330})?)s", re.ASCII)


def parse_size(value: object) -> int:
    """Return the bytes that `value` (int or text) means; ValueError says what to write instead."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(_bounded(Decimal(value), SIZE_WORDS))
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(SIZE_WORDS)
    amount = Decimal(match["number"]) * _SIZES[match["unit"].lower()]
    if amount != int(amount):
        raise ValueError("a whole number of bytes")
    return int(_bounded(amount, SIZE_WORDS))


def parse_duration(value: object) -> float:
    """Return the seconds that `value` (number or text) means; ValueError says what to write instead."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(_bounded(Decimal(value), DURATION_WORDS))
    if not isinstance(value, str):
        raise ValueError(DURATION_WORDS)  # noqa: TRY004 - its caller wants words for a report
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(_bounded(Decimal(text), DURATION_WORDS))
    if match := _SECONDS_WITH_UNIT.fullmatch(text):
        return float(_bounded(Decimal(match["number"]), DURATION_WORDS))
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise ValueError(DURATION_WORDS)
    total = sum((Decimal(part["number"]) * _DURATIONS[part["unit"]] for part in parts), Decimal(0))
    return float(_bounded(total, DURATION_WORDS))


def format_size(size: int) -> str:
    """Write `size` bytes with the largest unit that leaves no rest; `parse_size` reads it back."""
    for unit, factor in (("TB", TiB), ("GB", GiB), ("MB", MiB), ("KB", KiB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def format_duration(seconds: float) -> str:
    """Write `seconds` in d, h, m and s; `parse_duration` reads the same number back."""
    if seconds != int(seconds):
        return f"{Decimal(repr(seconds)):f}s"
    rest = int(seconds)
    pieces: list[str] = []
    for unit, factor in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, factor)
        if count:
            pieces.append(f"{count}{unit}")
    return "".join(pieces) or "0s"


def _bounded(amount: Decimal, words: str) -> Decimal:
    """Return `amount` if it is a number from 0 to `MOST`."""
    if not amount.is_finite() or not 0 <= amount <= MOST:
        raise ValueError(f"{words}, neither negative nor above 2^62")
    return amount
