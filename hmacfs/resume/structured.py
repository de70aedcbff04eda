"""Structured fields (RFC 9651) of resumable uploads and digests, read and written.

A value that is malformed or of another type counts as absent: draft-ietf-httpbis-resumable-upload 4 and
RFC 9651 4.2 want such a field ignored. Not for the hot path.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import http_sf

from hmacfs.resume.requests import Checksum

if TYPE_CHECKING:
    from http_sf import StructuredType

    from hmacfs.resume.requests import UploadLimits

_INTEGER_MOST: Final = 999_999_999_999_999
"""The largest integer of a structured field (RFC 9651 3.3.1): close to 1 PB."""
_SHA256: Final = "sha-256"
_ALGORITHMS: Final = {_SHA256: "sha256", "sha-512": "sha512"}
"""The active algorithms of RFC 9530 7.2, and what hashlib calls them; others are ignored (RFC 9530 2)."""
_WEIGHT_MOST: Final = 10
"""The largest preference among digests (RFC 9530 4)."""
_AGE_NAMES: Final = {6: "expires"}
"""What interop versions before 7 call the member max-age of Upload-Limit."""


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
    item = _item(value)
    return item if isinstance(item, int) and not isinstance(item, bool) and item >= 0 else None


def digests(value: bytes | None, *, whole: bool) -> tuple[Checksum, ...]:
    """Return the digests of Repr-Digest (`whole`) or Content-Digest whose algorithms are known."""
    return tuple(
        Checksum(algorithm=_ALGORITHMS[name], value=digest, whole=whole)
        for name, digest in _members(value)
        if name in _ALGORITHMS and isinstance(digest, bytes)
    )


def wants_sha256(value: bytes | None) -> bool:
    """Whether Want-Repr-Digest (RFC 9530 4) takes a SHA-256: an integer from 1 to 10 says so, 0 forbids."""
    weight = dict(_members(value)).get(_SHA256)
    return type(weight) is int and 1 <= weight <= _WEIGHT_MOST  # a boolean is no integer


def repr_digest(sha256: bytes | None) -> list[tuple[str, str]]:
    """Return the field Repr-Digest; none if the digest is not known."""
    return [] if sha256 is None else [("Repr-Digest", http_sf.ser({_SHA256: sha256}))]


def complete(state: bool) -> tuple[str, str]:  # noqa: FBT001 - the field is one boolean
    """Return the field Upload-Complete."""
    return ("Upload-Complete", http_sf.ser(state))


def limit(limits: UploadLimits, version: int | None = None) -> tuple[str, str]:
    """Return the field Upload-Limit as clients of interop `version` read it."""
    members = {
        "max-size": limits.most,
        "max-append-size": limits.chunk,
        _AGE_NAMES.get(version or 0, "max-age"): int(limits.lives_s),
    }
    return ("Upload-Limit", http_sf.ser({name: min(value, _INTEGER_MOST) for name, value in members.items()}))


def _item(value: bytes | None) -> object:
    """Return the bare value of an item, its parameters left out."""
    item = _parse(value, "item", _ITEM_BYTES)
    return item[0] if isinstance(item, tuple) else item


def _members(value: bytes | None) -> list[tuple[str, object]]:
    """Return names and bare values of a dictionary, parameters left out."""
    members = _parse(value, "dictionary", _DICTIONARY_BYTES)
    if not isinstance(members, dict):
        return []
    return [(name, member[0] if isinstance(member, tuple) else member) for name, member in members.items()]


def _parse(value: bytes | None, kind: str, most_bytes: int) -> StructuredType | None:
    if value is None or len(value) > most_bytes:
        return None
    try:
        return http_sf.parse(value, tltype=kind)
    except http_sf.StructuredFieldError:
        return None
