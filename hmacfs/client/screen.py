"""What the user sees while files move: a bar for each on a terminal, and lines; all on standard error."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bar:
    """The bar of one transfer."""

    def __init__(self, progress: Progress, name: str) -> None:
        """Begin a bar that knows no size yet."""
        self._progress = progress
        self._task = progress.add_task(escape(name), total=None)

    def show(self, moved: int, size: int | None) -> None:
        """Show that `moved` bytes of `size` are there; None if nobody knows how many there are."""
        self._progress.update(self._task, completed=moved, total=size)

    def remove(self) -> None:
        """Give the bar's line back."""
        self._progress.remove_task(self._task)


class Screen:
    """Standard error: bars if it is a terminal, lines in any case."""

    def __init__(self) -> None:
        """Find out what standard error is."""
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Begin to show bars."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the lines and take the bars away."""
        self._progress.stop()

    @contextlib.contextmanager
    def bar(self, name: str) -> Iterator[Bar]:
        """Lend a bar for one transfer."""
        bar = Bar(self._progress, name)
        try:
            yield bar
        finally:
            bar.remove()

    def say(self, words: str) -> None:
        """Print one line above the bars."""
        self._console.print(f"hmacfs: {words}", markup=False, highlight=False, soft_wrap=True)
