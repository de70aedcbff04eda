"""What the user sees while files move: a bar for each on a terminal, and lines; all on standard error."""

from __future__ import annotations

import contextlib
import sys
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

    def __init__(self, progress: Progress, name: str, size: int | None) -> None:
        """Begin a bar for `size` bytes; None if nobody knows yet how many there are."""
        self._progress = progress
        self._task = progress.add_task(escape(name), total=size)
        self._moved: int | None = None

    def show(self, moved: int, size: int | None) -> None:
        """Show that `moved` bytes of `size` are there."""
        if self._moved is None or moved < self._moved:
            # What was there before, and what must go again, is no part of the rate.
            self._progress.reset(self._task, completed=moved, total=size)
        else:
            self._progress.update(self._task, completed=moved, total=size)
        self._moved = moved

    def leave(self) -> None:
        """Leave a line about what is done."""
        if not self._progress.disable:
            done = [task for task in self._progress.tasks if task.id == self._task]
            self._progress.console.print(self._progress.make_tasks_table(done))

    def remove(self) -> None:
        """Give the bar's place back."""
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
            # It would break long lines, and send what belongs on standard output to standard error.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Begin to show bars."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the lines and take the bars away."""
        self._progress.stop()

    @contextlib.contextmanager
    def bar(self, name: str, size: int | None = None) -> Iterator[Bar]:
        """Lend a bar for one transfer; of one that ends well a line is left."""
        bar = Bar(self._progress, name, size)
        try:
            yield bar
            bar.leave()
        finally:
            bar.remove()

    def give(self, line: str) -> None:
        """Print one line on standard output; above the bars, where both are the same terminal."""
        if self._console.is_terminal and sys.stdout.isatty():
            self._print(line)
        else:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def say(self, words: str) -> None:
        """Print one line on standard error, above the bars."""
        self._print(f"hmacfs: {words}")

    def note(self, line: str) -> None:
        """Print one line on standard error as it is, above the bars."""
        self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
