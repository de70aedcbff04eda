"""What the store tells of itself, as the log, the counters and the supervisor hear it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.metrics import catalogue
from hmacfs.worker.messages import Barred

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs import metrics
    from hmacfs.log import Log
    from hmacfs.model import Dependency

# One line at most in such a time tells of files that may not be read.
DENIAL_S: Final = 10.0


class StorageEvents:
    """The listener of one worker's store; also while that one is being opened."""

    def __init__(
        self,
        storage_path: str,
        row: metrics.CounterRow,
        log: Log,
        *,
        now: Callable[[], float],
        send: Callable[[Barred], None],
    ) -> None:
        """Count in `row`, write to `log`, `send` to the supervisor; `now` is the loop's time."""
        self._storage_path = storage_path
        self._row = row
        self._log = log
        self._now = now
        self._send = send
        self._next_denial = 0.0
        self._denials = 0  # files since the last line
        self.resumed: Callable[[], None] = _nothing
        """Called when uploads are taken again."""

    def on_breaker(self, dependency: Dependency, opened: bool, why: str) -> None:  # noqa: FBT001 - as told
        """Tell that uploads are put off since `dependency` keeps failing, or are not any more."""
        if opened:
            self._row.add(catalogue.BREAKER_OPENED[dependency])
            self._log.event("error", "breaker-opened", dependency=dependency.value, error=why)
        else:
            self._log.event("info", "breaker-closed", dependency=dependency.value)

    def on_barred(self, words: str) -> None:
        """Tell why uploads are refused; with "" that they are taken again."""
        self._row.set(catalogue.UPLOADS_BARRED, int(bool(words)))
        self._send(Barred(words))
        if words:
            self._log.event("error", "uploads-barred", error=words)
            return
        self._log.event("info", "uploads-resumed")
        self.resumed()

    def on_denied(self, key: str, why: str) -> None:
        """Tell of a file that may not be read; of many there is one line from time to time."""
        self._row.add(catalogue.DENIED_FILES)
        now = self._now()
        if now < self._next_denial:
            self._denials += 1
            return
        path = f"{self._storage_path}/{key}"
        self._log.event("warn", "file-denied", path=path, error=why, more=self._denials)
        self._next_denial, self._denials = now + DENIAL_S, 0


def _nothing() -> None:
    """Do nothing: the store is being opened, and there is nothing to resume yet."""
