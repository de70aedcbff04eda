"""The jobs that keep the storage in order, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.metrics import catalogue

if TYPE_CHECKING:
    from hmacfs import metrics
    from hmacfs.log import Log
    from hmacfs.store import Store

# How soon it is noticed that something of the storage is gone, or there again.
ATTEND_S: Final = 1.0
BARRED_S: Final = 0.25


class Upkeep:
    """The upkeep of one worker's store; only one worker sweeps and reconciles."""

    def __init__(self, store: Store, row: metrics.CounterRow, log: Log) -> None:
        """Work on `store`; count in `row`, write to `log`."""
        self._store = store
        self._row = row
        self._log = log

    def attend_interval_s(self) -> float:
        """Return how long to wait until the storage is looked at again."""
        return BARRED_S if self._store.fault else ATTEND_S

    async def attend(self) -> None:
        """See whether the storage is there, and go on from what is found."""
        await self._store.attend()
        self.show_inodes()

    def show_inodes(self) -> None:
        """Let the supervisor know which files of the index are open."""
        for column, inode in zip(catalogue.INDEX_INODES, self._store.inodes() or (0, 0, 0), strict=True):
            self._row.set(column, inode)

    async def sweep(self) -> None:
        """Remove files that have expired, and uploads that nothing goes on with."""
        swept = await self._store.sweep()
        if swept is not None and swept.removed:
            self._row.add(catalogue.EXPIRED_FILES, swept.removed)
            self._log.event("info", "sweep-done", removed=swept.removed)
        if dropped := await self._store.sweep_sessions():
            self._row.add(catalogue.EXPIRED_UPLOADS, dropped)
            self._log.event("info", "uploads-dropped", dropped=dropped)

    async def reconcile(self) -> None:
        """Make index and files agree."""
        done = await self._store.reconcile()
        if done is not None:
            self._log.event("info", "reconcile-done", added=done.added, dropped=done.dropped)
            if done.unserved:
                names = " ".join(done.unserved_names)
                self._log.event("warn", "files-unserved", count=done.unserved, names=names)
