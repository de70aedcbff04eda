"""Which directories must be synced so that the names of a batch survive a power cut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hmacfs.model import Slot
    from hmacfs.store.files import Tree
    from hmacfs.store.upload import PendingPublication

# As many syncs as a disk's queue gains from; each waits in the kernel, not on the GIL.
SYNC_THREADS: Final = 8
# Of one directory's sync: its (device, inode); what went wrong; None if it is gone again.
Outcome: TypeAlias = tuple[int, int] | OSError | None


class Directories:
    """Which directories must be synced so that a name survives a power cut.

    All from the file's own up to its endpoint's, since any of them may be new, whatever made them;
    and what is above the endpoint's once, because that one is never removed by us.
    """

    def __init__(self, tree: Tree) -> None:
        """Know nothing of `tree` yet."""
        self._tree = tree
        self._pool = ThreadPoolExecutor(SYNC_THREADS, "hmacfs-directory")
        self._known: set[tuple[int, int]] = set()  # at most one entry per endpoint and re-creation

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def settle(self, uploads: Sequence[PendingPublication]) -> dict[str, OSError]:
        """Sync what `uploads` need, each directory once; give the keys whose sync failed."""
        own = {upload.stored.key.rpartition("/")[0] for upload in uploads}
        # A directory per upload is the rule. One after another, eight take a quarter longer.
        sync = self._pool.map if len(own) > 1 else map
        done = dict(zip(own, sync(self._sync, own), strict=True))
        failures: dict[str, OSError] = {}
        for upload in uploads:
            error = self._settle(upload.slot, done)
            if error is not None:
                failures[upload.stored.key] = error
        return failures

    def settle_one(self, slot: Slot) -> OSError | None:
        """Sync what the name of one file needs; return what went wrong."""
        return self._settle(slot, {})

    def _settle(self, slot: Slot, done: dict[str, Outcome]) -> OSError | None:
        durable: tuple[int, int] | None = None
        for directory in ancestors(slot.key):
            if directory not in done:
                done[directory] = self._sync(directory)
            outcome = done[directory]
            if isinstance(outcome, OSError):
                return outcome
            if directory == slot.endpoint.directory and outcome is not None:
                if outcome in self._known:
                    return None
                durable = outcome
        if durable is not None:
            self._known.add(durable)
        return None

    def _sync(self, directory: str) -> Outcome:
        try:
            return self._tree.sync_directory(directory)
        except FileNotFoundError:
            return None  # the file and its directory have been removed again meanwhile
        except OSError as error:
            return error


def ancestors(key: str) -> Iterator[str]:
    """Return the directories of a key, its own first, the root ("") last."""
    while key:
        key = key.rpartition("/")[0]
        yield key
