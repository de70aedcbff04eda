"""The media type of a request's body, by which two of the languages know a part of an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(fields: Mapping[bytes, bytes]) -> bytes:
    """Return it in lower case and without parameters; b"" if there is none."""
    return fields.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower()
