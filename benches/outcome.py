"""What came of one work: every run of every contender, and what it says about the bars. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from benches import figures

if TYPE_CHECKING:
    from benches.figures import Bar, Middle
    from benches.works import Work


class Verdict(NamedTuple):
    """A bar, and what was measured."""

    bar: Bar
    ratio: Middle

    @property
    def holds(self) -> bool:
        """Whether the median of the ratios reaches the bar."""
        return self.bar.holds(self.ratio.median)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The runs of one work so far."""

    name: str
    work: Work
    contenders: tuple[str, ...]
    runs: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    calls: dict[str, dict[str, float]] = field(default_factory=dict)  # system calls per request

    @property
    def ours(self) -> tuple[str, ...]:
        """Contenders that are hmacfs and are compared with the others."""
        rivals = {bar.rival for bar in self.work.bars}
        return tuple(name for name in self.contenders if name.startswith("hmacfs") and name not in rivals)

    @property
    def rivals(self) -> tuple[str, ...]:
        """Contenders that they are compared with."""
        return tuple(name for name in self.contenders if name not in self.ours)

    def values(self, name: str, figure: str) -> list[float]:
        """Return a contender's values of a figure, run by run."""
        return [run[figure] for run in self.runs.get(name, ()) if figure in run]

    def middle(self, name: str, figure: str) -> Middle | None:
        """Return median and spread; None before the first run."""
        values = self.values(name, figure)
        return figures.middle(values) if values else None

    def ratio(self, ours: str, rival: str, figure: str) -> Middle | None:
        """Return the ratio of two contenders over the rounds that both have run; None before the first."""
        pairs = list(zip(self.values(ours, figure), self.values(rival, figure), strict=False))
        return figures.ratio([mine for mine, _ in pairs], [other for _, other in pairs]) if pairs else None

    def verdicts(self) -> list[Verdict]:
        """Judge every bar whose two sides have run."""
        measured = [(bar, self.ratio(bar.ours, bar.rival, bar.figure)) for bar in self.work.bars]
        return [Verdict(bar, ratio) for bar, ratio in measured if ratio is not None]

    def record(self) -> dict[str, object]:
        """Return all of it as JSON takes it."""
        return {
            "work": self.name,
            "title": self.work.title,
            "figure": self.work.figure,
            "contenders": {
                name: {
                    "summary": {
                        figure: figures.middle(self.values(name, figure))._asdict() for figure in runs[0]
                    },
                    "runs": runs,
                    "system_calls_per_request": self.calls.get(name, {}),
                }
                for name, runs in self.runs.items()
            },
            "bars": [
                {**verdict.bar._asdict(), "ratio": verdict.ratio._asdict(), "holds": verdict.holds}
                for verdict in self.verdicts()
            ],
        }
