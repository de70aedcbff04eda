"""Structured fields (RFC 9651): the value of a field in, what it says out, and back.

A value that is malformed or of another type counts as absent: RFC 9651 4.2 wants such a field ignored. Not
for the hot path.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import http_sf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from http_sf import StructuredType

INTEGER_MOST: Final = 999_999_999_999_999
"""The largest integer of a structured field (RFC 9651 3.3.1): close to 1 PB."""
_ITEM_BYTES: Final = 128
_DICTIONARY_BYTES: Final = 512
"""Longer fields count as malformed. A parser of all structured fields takes a microsecond for each two bytes;
an item has two to fifteen of them, and two digests 160.
"""


@functools.lru_cache(maxsize=64)  # asked several times of a request, and mostly "?0" or "?1"
def boolean(value: bytes | None) -> bool | None:
    """Return the boolean of an item; None if there is none."""
    item = _item(value)
    return item if isinstance(item, bool) else None


def integer(value: bytes | None) -> int | None:
    """Return the integer of an item; None if there is none or it is negative, as no field here may be."""
    return _count(_item(value))


def members(value: bytes | None) -> dict[str, object] | None:
    """Return the bare values of a dictionary by name, parameters left out; None if there is none."""
    found = _parse(value, "dictionary", _DICTIONARY_BYTES)
    if not isinstance(found, dict):
        return None
    return {name: member[0] if isinstance(member, tuple) else member for name, member in found.items()}


def integers(value: bytes | None) -> dict[str, int] | None:
    """Return the members of a dictionary that are integers and not negative; None if there is none."""
    found = members(value)
    if found is None:
        return None
    return {name: count for name, member in found.items() if (count := _count(member)) is not None}


def write(value: bool | Mapping[str, int | bytes]) -> str:  # noqa: FBT001 - a boolean is one of the types
    """Return an item or a dictionary as the value of a field."""
    return http_sf.ser(value if isinstance(value, bool) else dict(value))


def _count(value: object) -> int | None:
    """Return `value` if it is an integer and not negative; a boolean is no integer."""
    return value if type(value) is int and value >= 0 else None


def _item(value: bytes | None) -> object:
    """Return the bare value of an item, its parameters left out."""
    item = _parse(value, "item", _ITEM_BYTES)
    return item[0] if isinstance(item, tuple) else item


def _parse(value: bytes | None, kind: str, most_bytes: int) -> StructuredType | None:
    if value is None or len(value) > most_bytes:
        return None
    try:
        return http_sf.parse(value, tltype=kind)
    except http_sf.StructuredFieldError:
        return None
