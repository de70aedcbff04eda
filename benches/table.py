"""Outcomes as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from benches import contenders, figures

if TYPE_CHECKING:
    from benches.figures import Bar, Middle
    from benches.outcome import Outcome


def of_work(outcome: Outcome) -> Table:
    """Return the table of one work: a line for each contender, and what hmacfs's figure is divided by its."""
    work = outcome.work
    table = Table(title=f"{outcome.name}: {work.title}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("contender", no_wrap=True)
    table.add_column(_heading(work.figure), justify="right", style="bold", no_wrap=True)
    for figure in work.columns:
        table.add_column(_heading(figure), justify="right", no_wrap=True)
    if outcome.calls:
        table.add_column("calls", justify="right", no_wrap=True)
    for ours in outcome.ours:
        table.add_column(f"{contenders.CONTENDERS[ours].title} ÷", justify="right", no_wrap=True)
    for name in outcome.contenders:
        cells = [_spread(work.figure, outcome.middle(name, work.figure))]
        cells += [_median(figure, outcome.middle(name, figure)) for figure in work.columns]
        if outcome.calls:
            cells.append(f"{sum(outcome.calls[name].values()):.1f}" if name in outcome.calls else "")
        cells += [_ratio(outcome, ours, name) if name in outcome.rivals else "" for ours in outcome.ours]
        table.add_row(contenders.CONTENDERS[name].title, *cells)
    return table


def of_bars(outcomes: list[Outcome]) -> Table:
    """Return the table of all bars, reached and missed."""
    table = Table(title="Bars", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("work", "against", "bar", "ratio"):
        table.add_column(heading, justify="left" if heading in ("work", "against") else "right")
    for outcome in outcomes:
        for verdict in outcome.verdicts():
            table.add_row(
                outcome.work.title,
                contenders.CONTENDERS[verdict.bar.rival].title,
                _bar(verdict.bar),
                _judged(verdict.ratio, holds=verdict.holds),
            )
    return table


def _heading(figure: str) -> str:
    return figures.FIGURES[figure].title


def _spread(figure: str, middle: Middle | None) -> str:
    return "…" if middle is None else f"{figures.write(figure, middle.median)} ±{middle.spread:.0%}"


def _median(figure: str, middle: Middle | None) -> str:
    return "" if middle is None else figures.write(figure, middle.median)


def _ratio(outcome: Outcome, ours: str, rival: str) -> str:
    for verdict in outcome.verdicts():
        if (verdict.bar.ours, verdict.bar.rival) == (ours, rival):
            return f"{_judged(verdict.ratio, holds=verdict.holds)} {_bar(verdict.bar)}"
    middle = outcome.ratio(ours, rival, outcome.work.figure)
    return "…" if middle is None else f"{middle.median:.2f} ±{middle.spread:.0%}"


def _judged(middle: Middle, *, holds: bool) -> str:
    return f"[{'green' if holds else 'red'}]{middle.median:.2f}[/] ±{middle.spread:.0%}"


def _bar(bar: Bar) -> str:
    return f"{'≥' if bar.at_least else '≤'} {bar.limit:.2f}"
