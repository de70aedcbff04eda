"""What this worker has lately learnt of files, so that the event loop need not ask the index again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.model import NANOSECONDS

if TYPE_CHECKING:
    from hmacfs.model import File, StoredFile

# About 8 MiB at 520 bytes each, key included; a site's busy files are far fewer.
CAPACITY: Final = 16_384


class FileMetadata(NamedTuple):
    """What a reader may know of a file."""

    content_type: str | None
    """The signed type; None if nothing was signed."""
    expires: float | None
    """Wall-clock time at which it will be gone; None: it stays."""
    created: float
    """Wall-clock time of its publication."""
    sha256: bytes | None = None
    """SHA-256 of the content; None if that is not known."""


class MetadataCache:
    """A bounded memory of known, the least lately used forgotten first. For one thread."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Remember at most `capacity` files."""
        self._capacity = capacity
        self._files: OrderedDict[tuple[str, int, int], FileMetadata] = OrderedDict()

    def get(self, key: str, file: File) -> FileMetadata | None:
        """Return the known of exactly this file, if they are remembered."""
        # The inode too: a coarse filesystem could give a name's next file the same mtime.
        place = (key, file.mtime_ns, file.inode)
        known = self._files.get(place)
        if known is not None:
            self._files.move_to_end(place)
        return known

    def put(self, key: str, mtime_ns: int, inode: int, known: FileMetadata) -> None:
        """Remember the known of one file."""
        self._files[key, mtime_ns, inode] = known
        self._files.move_to_end((key, mtime_ns, inode))
        if len(self._files) > self._capacity:
            self._files.popitem(last=False)


def describe(stored: StoredFile | None, mtime_ns: int) -> FileMetadata:
    """Return what a reader may know of a file, before file_ttl is applied; of one without a row, its time."""
    if stored is None:
        return FileMetadata(None, None, mtime_ns / NANOSECONDS)
    return FileMetadata(stored.content_type, stored.expires, stored.created, stored.sha256)
