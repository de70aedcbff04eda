"""What this worker has lately learnt of files, so that the event loop need not ask the index again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hmacfs.model import File, Record

# About 8 MiB at 520 bytes each, key included; a site's busy files are far fewer.
CAPACITY: Final = 16_384


class CachedMetadata(NamedTuple):
    """What the index says of a file, before the site's file_ttl is applied."""

    content_type: str | None
    expires: float | None
    created: float
    sha256: bytes | None = None


class MetadataCache:
    """A bounded memory of facts, the least lately used forgotten first. For one thread."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Remember at most `capacity` files."""
        self._capacity = capacity
        self._facts: OrderedDict[tuple[str, int, int], CachedMetadata] = OrderedDict()

    def get(self, key: str, file: File) -> CachedMetadata | None:
        """Return the facts of exactly this file, if they are remembered."""
        # The inode too: a coarse filesystem could give a name's next file the same mtime.
        place = (key, file.mtime_ns, file.inode)
        facts = self._facts.get(place)
        if facts is not None:
            self._facts.move_to_end(place)
        return facts

    def put(self, key: str, mtime_ns: int, inode: int, facts: CachedMetadata) -> None:
        """Remember the facts of one file."""
        self._facts[key, mtime_ns, inode] = facts
        self._facts.move_to_end((key, mtime_ns, inode))
        if len(self._facts) > self._capacity:
            self._facts.popitem(last=False)


def facts_of(record: Record | None, mtime_ns: int) -> CachedMetadata:
    """Return the facts of a record; of a file without one, those that its mtime tells."""
    if record is None:
        return CachedMetadata(None, None, mtime_ns / 1e9)
    return CachedMetadata(record.content_type, record.expires, record.created, record.sha256)
