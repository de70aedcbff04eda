"""Ranks the classes of the whole site by what all workers have counted; one worker does it for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.metrics import catalogue
from hmacfs.model import NANOSECONDS
from hmacfs.policy import buffer_ranking
from hmacfs.policy.buffer_ranking import Weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmacfs import metrics
    from hmacfs.policy.buffer_classes import Classes


class Optimiser:
    """The ranking, and the counts of which it is made."""

    def __init__(
        self, rows: Sequence[metrics.CounterRow], own: metrics.CounterRow, classes: Classes, state: bytes
    ) -> None:
        """Rank by the counts of `rows`, beginning with what `state` says was known; tell it in `own`."""
        self._rows = rows
        self._own = own
        self._classes = classes
        self._ranking = buffer_ranking.read(state, classes)
        self._counted = self._count()
        own.set(catalogue.OPTIMAL_BUFFER, self._ranking.best)

    def rank(self) -> bytes | None:
        """Rank anew if enough has been weighed since the last time; give the state to keep, else None."""
        counted = self._count()
        fresh = {
            size: Weight(counted[size].bytes - before.bytes, counted[size].seconds - before.seconds)
            for size, before in self._counted.items()
        }
        enough = buffer_ranking.round_bytes(self._classes)
        if len(fresh) == 1 or sum(weight.bytes for weight in fresh.values()) < enough:
            return None
        self._counted = counted
        before, self._ranking = self._ranking, buffer_ranking.updated(self._ranking, fresh, self._classes)
        if self._ranking.best != before.best:
            self._own.add(catalogue.BUFFER_CHANGES["site"])
            self._own.set(catalogue.OPTIMAL_BUFFER, self._ranking.best)
        return buffer_ranking.write(self._ranking)

    def _count(self) -> dict[int, Weight]:
        return {
            size: Weight(
                sum(row.read(catalogue.BUFFER_TRIAL_BYTES[size]) for row in self._rows),
                sum(row.read(catalogue.BUFFER_TRIAL_SECONDS[size]) for row in self._rows) / NANOSECONDS,
            )
            for size in self._classes.each()
        }
