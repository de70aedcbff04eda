"""Run the simulation; print its tables and keep them in benches/results/links.json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

import benches.links
from benches.links import outcome
from hmacfs.policy.chunks import Algorithm

if TYPE_CHECKING:
    from benches.links.outcome import Outcome

RESULTS: Final = Path(__file__).parents[1] / "results" / "links.json"
SEEDS: Final = 10
UPLOADS: Final = 40
WIDTH: Final = 150


def table(found: Outcome) -> Table:
    """Return mean time and share of bytes resent for each pattern, and what predictive's time is to others'.

    A ratio is that of all seeds, with the least and the most of a single one.
    """
    kept = "what arrived is kept" if found.keeps_partial else "a broken chunk is sent again whole"
    table = Table(title=f"Mean time of an upload, bytes resent: {kept}", box=box.SIMPLE_HEAD)
    for heading in ("link", "sizes"):
        table.add_column(heading)
    for heading in (*Algorithm, *(f"predictive ÷ {rival}" for rival in outcome.RIVALS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.record()["rows"]:
        means = [f"{one['seconds']:,.1f} s {one['resent_share']:5.1%}" for one in row["algorithms"].values()]
        table.add_row(row["link"], row["sizes"], *means, *map(_ratio, row["ratios"].values()))
    return table


def _ratio(ratio: dict[str, Any]) -> str:
    return f"{ratio['pooled']:.3f} ({ratio['seeds']['least']:.3f}-{ratio['seeds']['most']:.3f})"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benches.links", description=benches.links.__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--uploads", type=int, default=UPLOADS, help="of each pattern and seed")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    console = Console(width=WIDTH)
    protocols = []
    for keeps_partial in (False, True):
        found = outcome.measure(range(1, given.seeds + 1), given.uploads, keeps_partial=keeps_partial)
        console.print(table(found))
        console.print(f"bars missed: {', '.join(found.missed()) or 'none'}\n")
        protocols.append(found.record())
    record = {"seeds": given.seeds, "uploads": given.uploads, "protocols": protocols}
    given.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
