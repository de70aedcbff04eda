"""Byte counts in plain digits: a field in, a number that a file can have or a refusal out."""

from __future__ import annotations

from typing import Final

from hmacfs.errors import TOO_LARGE, UPLOAD_FIELD, Refused

MOST: Final = 2**63 - 1
"""The largest offset of a file (off_t)."""


def read(name: str, value: bytes | None) -> int:
    """Return the number in `value`, of the field `name`.

    Raises UPLOAD_FIELD if it is absent or holds anything but digits, TOO_LARGE if no file has so many bytes.
    """
    if value is None or not value.isdigit():
        raise Refused(UPLOAD_FIELD, f"{name} must be a number of bytes")
    # Measured before it is read: thousands of digits are not an int Python would read.
    digits = value.lstrip(b"0") or b"0"
    if len(digits) > len(str(MOST)):
        raise Refused(TOO_LARGE)
    return fit(int(digits))


def fit(number: int) -> int:
    """Return `number`; raises TOO_LARGE if no file has so many bytes."""
    if number > MOST:
        raise Refused(TOO_LARGE)
    return number
