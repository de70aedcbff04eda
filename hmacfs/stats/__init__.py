"""`hmacfs stats`: what a running server counts, read from its metrics and shown to a person or a script.

Asks the operators' listener as Prometheus does, so that it needs nothing of the server but an address.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from hmacfs.stats import figures, scrape, view
from hmacfs.stats.figures import Figures
from hmacfs.stats.scrape import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Figures", "Unreachable", "print_json", "print_once", "readings", "watch"]


def readings(address: str, interval_s: float) -> Iterator[Figures]:
    """Return figures every `interval_s`, without end. Raises Unreachable."""
    before, asked_s = scrape.fetch(address), time.monotonic()
    while True:
        time.sleep(interval_s)
        after, now_s = scrape.fetch(address), time.monotonic()
        yield figures.between(before, after, now_s - asked_s)
        before, asked_s = after, now_s


def print_json(address: str, interval_s: float) -> None:
    """Print the figures of one interval as a JSON object. Raises Unreachable."""
    reading = next(readings(address, interval_s))
    sys.stdout.write(json.dumps(dataclasses.asdict(reading), indent=2) + "\n")


def print_once(address: str, interval_s: float) -> None:
    """Print the figures of one interval for a person, in a terminal or a pipe. Raises Unreachable."""
    console = Console()
    console.print(view.render(next(readings(address, interval_s)), console))


def watch(address: str, interval_s: float) -> None:
    """Show the figures of each interval in place of those before, until interrupted. Raises Unreachable.

    Where the output is no terminal there is no place to show them in: one interval is printed.
    """
    console = Console()
    if not console.is_terminal:
        print_once(address, interval_s)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for reading in readings(address, interval_s):
            live.update(view.render(reading, console), refresh=True)
