"""What came of many uploads: means, what was sent in vain, and whether the bars hold."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benches import figures
from benches.links import upload
from benches.links.weather import LINKS
from hmacfs.model import MiB
from hmacfs.policy.chunks import Algorithm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benches.figures import Middle
    from benches.links.upload import Result

# Sizes of files, least and most; in between all magnitudes are as likely.
BANDS: Final = {
    "1-10 MiB": (1 * MiB, 10 * MiB),
    "10-100 MiB": (10 * MiB, 100 * MiB),
    "0.1-1 GiB": (100 * MiB, 1024 * MiB),
}
RIVALS: Final = (Algorithm.FIXED, Algorithm.ADAPTIVE)
# The mean of all uploads must be better than a rival's, that of none of the patterns much worse.
MEAN_BAR: Final = 1.0
PATTERN_BAR: Final = 1.1


class Pattern(NamedTuple):
    """Uploads that are alike."""

    link: str
    band: str


Runs = dict[Algorithm, list["Result"]]
"""The same uploads with each algorithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All uploads of one protocol, by seed and pattern."""

    keeps_partial: bool
    seeds: tuple[dict[Pattern, Runs], ...]

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """All patterns, in the order of the table."""
        return tuple(self.seeds[0])

    def runs(self, algorithm: Algorithm, patterns: Iterable[Pattern]) -> list[Result]:
        """Return the uploads of all seeds."""
        patterns = tuple(patterns)
        return [one for seed in self.seeds for pattern in patterns for one in seed[pattern][algorithm]]

    def ratio(self, rival: Algorithm, patterns: Iterable[Pattern]) -> float:
        """Divide the mean time of the predictive algorithm by that of `rival`."""
        patterns = tuple(patterns)
        ours = self.runs(Algorithm.PREDICTIVE, patterns)
        return fmean(one.seconds for one in ours) / fmean(one.seconds for one in self.runs(rival, patterns))

    def seed_ratios(self, rival: Algorithm, patterns: Iterable[Pattern]) -> Middle:
        """Return how that ratio differs between seeds."""
        patterns = tuple(patterns)
        alone = [Outcome(keeps_partial=self.keeps_partial, seeds=(seed,)) for seed in self.seeds]
        return figures.middle([one.ratio(rival, patterns) for one in alone])

    def missed(self) -> Iterator[str]:
        """Return the bars that do not hold, in words."""
        for rival in RIVALS:
            if (ratio := self.ratio(rival, self.patterns)) >= MEAN_BAR:
                yield f"mean of all, {rival}: {ratio:.3f}"
            for pattern in self.patterns:
                if (ratio := self.ratio(rival, [pattern])) > PATTERN_BAR:
                    yield f"{pattern.link}, {pattern.band}, {rival}: {ratio:.3f}"

    def record(self) -> dict[str, Any]:
        """Return what the results keep."""
        rows = [(list(pattern), [pattern]) for pattern in self.patterns]
        return {
            "keeps_partial": self.keeps_partial,
            "missed": list(self.missed()),
            "rows": [
                self._row(name, patterns) for name, patterns in [*rows, (["all", "all"], self.patterns)]
            ],
        }

    def _row(self, name: list[str], patterns: Iterable[Pattern]) -> dict[str, Any]:
        return {
            "link": name[0],
            "sizes": name[1],
            "algorithms": {algorithm: summary(self.runs(algorithm, patterns)) for algorithm in Algorithm},
            "ratios": {
                rival: {
                    "pooled": round(self.ratio(rival, patterns), 4),
                    "seeds": {
                        key: round(value, 4)
                        for key, value in self.seed_ratios(rival, patterns)._asdict().items()
                    },
                }
                for rival in RIVALS
            },
        }


def summary(runs: list[Result]) -> dict[str, float]:
    """Return the means of some uploads, and the share of all bytes that was sent in vain."""
    return {
        "seconds": round(fmean(one.seconds for one in runs), 2),
        "resent_share": round(sum(one.resent for one in runs) / sum(one.size for one in runs), 5),
        "chunks": round(fmean(one.chunks for one in runs), 1),
        "interruptions": round(fmean(one.interruptions for one in runs), 2),
    }


def measure(seeds: Iterable[int], uploads: int, *, keeps_partial: bool) -> Outcome:
    """Send `uploads` files of each pattern for each seed, with each algorithm over the same lines."""
    return Outcome(
        keeps_partial=keeps_partial,
        seeds=tuple(
            {
                Pattern(link, band): _runs(Pattern(link, band), seed, uploads, keeps_partial=keeps_partial)
                for link in LINKS
                for band in BANDS
            }
            for seed in seeds
        ),
    )


def _runs(pattern: Pattern, seed: int, uploads: int, *, keeps_partial: bool) -> Runs:
    least, most = BANDS[pattern.band]
    runs: Runs = {algorithm: [] for algorithm in Algorithm}
    for number in range(uploads):
        name = f"{seed} {pattern.link} {pattern.band} {number}"
        size = int(least * (most / least) ** random.Random(f"{name} size").random())
        for algorithm, results in runs.items():
            results.append(
                upload.run(LINKS[pattern.link], size, name, algorithm, keeps_partial=keeps_partial)
            )
    return runs
