"""Uploads sent again, since the answer to the first was lost: told again that they are stored.

A client that never saw its 201 repeats the request, and must not take a 409 for a failure. It is a repeat if
it would store exactly the record that stands, and that is only minutes old; nothing is written for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.transfer import Unguarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.model import Slot, StoredFile
    from hmacfs.store import Store

WITHIN_S: Final = 600.0
"""How long after the first: a client's time-outs, and its retries with growing pauses."""


class Repeats:
    """Compares uploads to a place that is taken with what stands there."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        """Compare with what `store` holds; `now` is the wall clock."""
        self._store = store
        self._now = now

    async def find(self, slot: Slot, stored: StoredFile) -> StoredFile | None:
        """Return the record of the file at `slot`, if an upload of `stored` could repeat its own."""
        try:
            record = await self._store.record(slot)
        except Refused as refused:
            if refused.refusal is errors.NOT_FOUND:  # what stands there is no file
                return None
            raise
        if record is None or record.digest is None or not self._now() - record.created < WITHIN_S:
            return None
        alike = _promised(record) == _promised(stored)
        return record if alike else None

    async def has(self, slot: Slot, stored: StoredFile) -> bool:
        """Whether the content with the BLAKE3 of `stored` stands at `slot`, stored by the same token."""
        record = await self.find(slot, stored)
        return record is not None and record.digest == stored.digest


def _promised(stored: StoredFile) -> tuple[object, ...]:
    """Return what a token and its request say of a file."""
    return stored.owner, stored.content_type, stored.expires, stored.size


class Comparison(Unguarded):
    """A sink that compares a body with what stands, and keeps none of it."""

    __slots__ = ("_digest", "_left", "waited_s")

    def __init__(self, size: int) -> None:
        """Expect `size` bytes."""
        super().__init__()
        self._digest = blake3()
        self._left = size
        self.waited_s = 0.0

    def take(self, data: memoryview) -> None:
        """Take `data` into account. Raise Refused EXISTS for more than stands there."""
        self._left -= len(data)
        if self._left < 0:
            raise Refused(errors.EXISTS)
        self._digest.update(data)

    def check(self, record: StoredFile) -> None:
        """Raise Refused EXISTS unless what has come is what stands there."""
        if self._left or self._digest.digest() != record.digest:
            raise Refused(errors.EXISTS)
