"""Outcomes as SVG: one chart for each work, and one of all ratios with their bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benches import contenders, figures, host

if TYPE_CHECKING:
    from pathlib import Path

    from benches.outcome import Outcome

OURS: Final = "#1f6feb"
RIVAL: Final = "#9aa4b2"
BAR: Final = "#d1242f"
GRID: Final = "#e3e6ea"

# The same runs give the same file, and text stays text.
mpl.rcParams.update({"svg.hashsalt": "hmacfs", "svg.fonttype": "none", "font.family": "sans-serif"})


def draw_work(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the figure that decides, for each contender, with its spread.

    On a rival's row a line shows what the bar leaves to hmacfs.
    """
    unit = figures.FIGURES[outcome.work.figure]
    named = [(name, outcome.middle(name, outcome.work.figure)) for name in reversed(outcome.contenders)]
    rows = [(name, middle) for name, middle in named if middle is not None]
    if not rows:
        return
    figure = Figure(figsize=(8, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    at = {name: number for number, (name, _) in enumerate(rows)}
    medians = [middle.median * unit.factor for _, middle in rows]
    spreads = [
        [(middle.median - middle.least) * unit.factor for _, middle in rows],
        [(middle.most - middle.median) * unit.factor for _, middle in rows],
    ]
    axes.barh(
        [contenders.CONTENDERS[name].title for name, _ in rows],
        medians,
        xerr=spreads,
        color=[OURS if name in outcome.ours else RIVAL for name, _ in rows],
        height=0.62,
        capsize=2,
    )
    for number, (_, middle) in enumerate(rows):
        label = figures.write(outcome.work.figure, middle.median)
        axes.annotate(
            label, (middle.most * unit.factor, number), (6, 0), textcoords="offset points", va="center"
        )
    for verdict in outcome.verdicts():
        rival = dict(rows).get(verdict.bar.rival)
        if verdict.bar.figure == outcome.work.figure and rival is not None:
            limit, row = rival.median * unit.factor * verdict.bar.limit, at[verdict.bar.rival]
            axes.plot([limit, limit], [row - 0.42, row + 0.42], color=BAR, linewidth=2)
    axes.set_title(outcome.work.title, loc="left")
    axes.set_xlabel(f"{unit.title}{f', {unit.unit}' if unit.unit else ''}")
    figure.supxlabel(caption, x=0.01, ha="left", fontsize="x-small")
    axes.set_xlim(0, max(middle.most for _, middle in rows) * unit.factor * 1.2)
    _plain(axes)
    figure.savefig(path, metadata={"Date": None})


def draw_bars(records: list[dict[str, Any]], path: Path) -> None:
    """Draw every ratio that has a bar, relative to that bar: left of the line it is reached."""
    rows = [(record["title"], bar) for record in records for bar in record["bars"]][::-1]
    if not rows:
        return
    figure = Figure(figsize=(9, 1.4 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for number, (_, bar) in enumerate(rows):
        limit, ratio = bar["limit"], bar["ratio"]
        # A ratio that is to be large is shown upside down, so that left is better everywhere.
        least, median, most = sorted(
            limit / ratio[name] if bar["at_least"] else ratio[name] / limit
            for name in ("least", "median", "most")
        )
        axes.errorbar(
            [median],
            [number],
            xerr=[[median - least], [most - median]],
            fmt="o",
            color=OURS if bar["holds"] else BAR,
            capsize=2,
        )
        sign = "≥" if bar["at_least"] else "≤"
        label = f"{ratio['median']:.2f} ({sign} {limit:.2f})"
        axes.annotate(
            label, (median, number), (0, 6), textcoords="offset points", ha="center", size="x-small"
        )
    axes.axvline(1, color=BAR, linewidth=1.5)
    axes.set_yticks(
        range(len(rows)),
        [f"{title} — {contenders.CONTENDERS[bar['rival']].title}" for title, bar in rows],
    )
    axes.set_ylim(-0.7, len(rows) - 0.2)
    axes.set_title("hmacfs ÷ rival, relative to the bar", loc="left")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("1 is the bar; less is better")
    captions = dict.fromkeys(host.caption(record["host"]) for record in records)
    figure.supxlabel("\n".join(captions), x=0.01, ha="left", fontsize="x-small")
    _plain(axes)
    figure.savefig(path, metadata={"Date": None})


def _plain(axes: mpl.axes.Axes) -> None:
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
