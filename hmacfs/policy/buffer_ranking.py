"""Which class costs a site least: a ranking of classes by what they have cost lately.

What is weighed is the bytes that a worker has received with each class and the processor time that took.
A small share of all bytes tries the classes in turn, whatever the ranking, so that none is unknown for long.
Counts are taken in rounds; what was seen before counts less the more is seen anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.policy.buffer_classes import Classes

# A look that found less says more of its own cost than of the class.
TRIAL_FROM_BYTES: Final = 1 * MiB
# A class is kept for so many bytes at a time: as many as the longest turn moves.
SPELL_BYTES: Final = 8 * MiB
# One spell of so many tries another class. With the costs that `config.settings` tells of, trying all of them
# in turn takes 1 % more processor time.
TRIED_EVERY: Final = 16
# As often must each class have been tried in a round. With one spell of each, 4 % of simulated sites whose
# best class stays changed theirs more than twice in ten rounds; with three, one of 400 did.
SPELLS_EACH: Final = 3
# What was known of a class before counts so much after so many new spells of it, so that a change is seen at
# once on a busy site, while on another a few spells do not outweigh all others.
KEPT: Final = 0.1
KEPT_SPELLS: Final = 8
# By how much another class must cost less: what nobody would notice is no reason to change.
GAIN: Final = 0.05
# By how much a single spell may mislead: twice the standard deviation, which was 0.13 to 0.24 of the mean for
# each class on a virtual machine of two cores. The mean of n of them is as sure as the root of n: a class
# that few spells speak for must be the better for it.
NOISE: Final = 0.4


class Weight(NamedTuple):
    """What one class has moved, and what it has cost."""

    bytes: float
    seconds: float
    """Processor time."""

    @property
    def cost(self) -> float:
        """Seconds a byte."""
        return self.seconds / self.bytes


NOTHING: Final = Weight(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What is known of the classes of one site."""

    best: int
    """The class to use."""
    weights: Mapping[int, Weight] = field(default_factory=dict)
    """By class, what was seen lately, older ones counting less."""


def round_bytes(classes: Classes) -> int:
    """Return how much must have been weighed for every class to have been tried often enough."""
    return len(classes.each()) * SPELLS_EACH * TRIED_EVERY * SPELL_BYTES


def updated(ranking: Ranking, fresh: Mapping[int, Weight], classes: Classes) -> Ranking:
    """Return the ranking after a round, in which `fresh` was weighed."""
    weights: dict[int, Weight] = {}
    for size in classes.each():
        old, new = ranking.weights.get(size, NOTHING), fresh.get(size, NOTHING)
        kept = KEPT ** min(new.bytes / SPELL_BYTES / KEPT_SPELLS, 1)
        weight = Weight(old.bytes * kept + new.bytes, old.seconds * kept + new.seconds)
        # Less than half a spell was not tried but left over.
        if weight.bytes >= SPELL_BYTES / 2 and weight.seconds > 0:
            weights[size] = weight
    return Ranking(best=_best(classes.fit(ranking.best), weights), weights=weights)


def _best(now: int, weights: Mapping[int, Weight]) -> int:
    """Return the class that costs least, if it is surely better than the one used `now`."""
    if now not in weights:
        return now  # which is nearly always used: there is nothing to compare with
    found, price = now, weights[now].cost
    for size, weight in weights.items():
        sure = weight.cost * (1 + GAIN + NOISE / math.sqrt(weight.bytes / SPELL_BYTES))
        if size != now and sure < weights[now].cost and weight.cost < price:
            found, price = size, weight.cost
    return found


def write(ranking: Ranking) -> bytes:
    """Write a ranking so that `read` gives it back."""
    weights = {str(size): list(weight) for size, weight in ranking.weights.items()}
    return json.dumps({"best": ranking.best, "weights": weights}).encode()


def read(text: bytes, classes: Classes) -> Ranking:
    """Read what `write` wrote; whatever else it is, nothing is known, and the largest class is used."""
    try:
        state = json.loads(text)
        weights = {int(size): _weight(*parts) for size, parts in state["weights"].items()}
        best = classes.fit(int(state["best"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return Ranking(best=classes.most)
    return Ranking(best=best, weights={size: weights[size] for size in classes.each() if size in weights})


def _weight(moved: float, seconds: float) -> Weight:
    """Make a weight of what was read. Raises ValueError and TypeError."""
    if not (0 < moved < math.inf and 0 < seconds < math.inf):
        raise ValueError(moved, seconds)
    return Weight(moved, seconds)
