"""What one worker knows of its site's uploads: which class costs least, and how fast clients are.

The counting of what each class costs happens here; who ranks the classes of it is `Optimiser`, in one
worker for all.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Final

from hmacfs.metrics import catalogue
from hmacfs.model import Facts
from hmacfs.policy import buffer_ranking, buffer_size, smoothing
from hmacfs.policy.smoothing import Forecast

if TYPE_CHECKING:
    from hmacfs import metrics
    from hmacfs.policy.buffer_classes import Classes
    from hmacfs.policy.buffer_size import Filling

# Uploads of so many seconds outweigh all that came before.
TYPICAL_S: Final = 60.0


class BufferTuner:
    """One worker's part of it; `top` is the class that nobody's should exceed now."""

    __slots__ = ("_initial", "_rate", "_row", "_spell", "_spells", "_tried", "best", "classes", "top")

    def __init__(
        self, row: metrics.CounterRow, classes: Classes, *, initial: int, first_tried: int = 0
    ) -> None:
        """Choose among `classes`; `initial` is that of the first client.

        `first_tried` makes the workers of a site try different classes at the same time.
        """
        self._row = row
        self.classes = classes
        self.best = self.top = classes.most
        self._initial = initial
        self._tried = first_tried
        self._rate = Forecast(value=0.0, half_life_s=TYPICAL_S)
        self._spell = buffer_ranking.SPELL_BYTES
        self._spells = cycle(range(buffer_ranking.TRIED_EVERY))

    def learn(self, best: int) -> None:
        """Use `best`, which has been found to cost least, from the next spell on; 0 says nothing."""
        if best:
            self.best = self.classes.fit(best)

    def begin(self, length: int, rate: float | None = None) -> Filling:
        """Choose the class of a body of so many bytes; `rate` is its client's, None if that is not known."""
        if rate is None and self._rate.evidence_s:
            rate = self._rate.value
        return buffer_size.begin(Facts(length=length, rate=rate), self.classes, self._initial)

    def look(self, now: Filling, came: int, *, dry: bool) -> Filling:
        """Choose it again after a look that found `came` bytes; `dry` if there were no more."""
        after = buffer_size.updated(now, self.classes, came, dry=dry)
        if after.size != now.size:
            self._row.add(catalogue.BUFFER_CHANGES["up" if after.size > now.size else "down"])
        return after

    def record_cost(self, size: int, moved: int, spent_ns: int) -> None:
        """Note what a look with the class `size` moved, and the processor time that it took."""
        if moved >= buffer_ranking.TRIAL_FROM_BYTES:
            self._row.add(catalogue.BUFFER_TRIAL_BYTES[size], moved)
            self._row.add(catalogue.BUFFER_TRIAL_SECONDS[size], spent_ns)
        self._spell -= moved
        if self._spell <= 0:
            self._next_trial()

    def end(self, moved: int, asked: int, seconds: float) -> None:
        """Note that of an upload `moved` bytes came within `seconds`, where `asked` would have fitted."""
        if not moved or not asked:
            return
        self._row.observe(catalogue.BUFFER_UTILIZATION, moved / asked)
        if seconds > 0:
            self._rate = smoothing.updated(self._rate, moved / seconds, seconds)

    def _next_trial(self) -> None:
        """Use the best class for a while, or now and then another, each in its turn."""
        self._spell = buffer_ranking.SPELL_BYTES
        self.top = self.best
        if next(self._spells) == 0:
            every = self.classes.each()
            self._tried += 1
            self.top = every[self._tried % len(every)]
