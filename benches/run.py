"""Run the benches: make bench, make bench QUICK=1, make bench ONLY=get_1k,put_100m.

Runs alternate (hmacfs, nginx, ..., hmacfs, nginx, ...), the first round is thrown away. Results go to
benches/results/, those of a quick run to benches/results/quick/.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benches import chart, contenders, host, load, measure, report, table, works
from benches.contenders import Fleet
from benches.folder import Folder
from benches.load import Trial
from benches.outcome import Outcome

if TYPE_CHECKING:
    from rich.progress import TaskID

RESULTS: Final = Path(__file__).parent / "results"
TRACED_S: Final = 2.0
WIDTH: Final = 150  # of tables in a log


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How thoroughly it is measured."""

    rounds: int  # that count; one more comes before them
    seconds: float  # of each run


FULL: Final = Pace(rounds=5, seconds=4)
QUICK: Final = Pace(rounds=2, seconds=1)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer works, rivals and rounds")
    parser.add_argument("--only", default="", help=f"works by name, with commas: {', '.join(works.WORKS)}")
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds that count (default {FULL.rounds})")
    parser.add_argument("--seconds", type=float, default=0, help=f"of each run (default {FULL.seconds:g})")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if unknown := set(given.only.split(",")) - set(works.WORKS) - {""}:
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    return given


def chosen(only: str, *, quick: bool) -> list[Outcome]:
    """Return the works to run, each with its contenders; a work that is named runs even in a quick run."""
    names = [name for name in only.split(",") if name] or list(works.WORKS)
    picked = []
    for name in names:
        work = works.WORKS[name]
        if quick and not work.quick and not only:
            continue
        picked.append(
            Outcome(
                name=name, work=work, contenders=work.quick or work.contenders if quick else work.contenders
            )
        )
    return picked


class Session:
    """One run of the benches: what is shown, and where it is kept."""

    def __init__(self, fleet: Fleet, pace: Pace, *, traced: bool) -> None:
        """Show nothing yet."""
        self._fleet = fleet
        self._pace = pace
        self._traced = traced
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        )

    def measure(self, outcome: Outcome, live: Live) -> None:
        """Run all rounds of one work, and one more for the system calls."""
        rounds = self._pace.rounds + 1 if outcome.work.repeats else 1
        traced = self._traced and outcome.work.traced
        task = self._progress.add_task(outcome.name, total=(rounds + traced) * len(outcome.contenders))
        for number in range(rounds):
            for name in outcome.contenders:
                self._show(outcome, live, task, f"{outcome.name}, round {number}: {name}")
                found = outcome.work.measure(self._trial(outcome, name, self._pace.seconds))
                if number or rounds == 1:
                    outcome.runs.setdefault(name, []).append(found)
                self._progress.advance(task)
        if traced:
            for name in outcome.contenders:
                self._show(outcome, live, task, f"{outcome.name}, system calls: {name}")
                outcome.calls[name] = self._trace(outcome, name)
                self._progress.advance(task)
        self._progress.remove_task(task)
        live.update(table.of_work(outcome), refresh=True)

    def _trial(self, outcome: Outcome, name: str, seconds: float) -> Trial:
        if outcome.work.fresh:
            self._fleet.drop(name)
        return Trial(server=self._fleet.get(name), folder=self._fleet.folder, seconds=seconds)

    def _trace(self, outcome: Outcome, name: str) -> dict[str, float]:
        trial = self._trial(outcome, name, TRACED_S)
        calls: dict[str, int] = {}
        with measure.system_calls(trial.server.pids, calls, self._fleet.folder.root / "strace"):
            try:
                requests = outcome.work.measure(trial)["requests"]
            except TimeoutError:  # some are that slow while they are traced
                return {}
        return {call: count / requests for call, count in sorted(calls.items(), key=lambda item: -item[1])}

    def _show(self, outcome: Outcome, live: Live, task: TaskID, doing: str) -> None:
        self._progress.update(task, description=doing)
        live.update(Group(table.of_work(outcome), self._progress), refresh=True)


def prepare(outcomes: list[Outcome]) -> None:
    """See that everything is there. Raises SystemExit with what is not."""
    if not os.sched_getaffinity(0) >= {contenders.SERVER_CORE, contenders.CLIENT_CORE}:
        raise SystemExit("benches need the cores 0 and 1: one for the server, one for the client")
    os.sched_setaffinity(0, {contenders.CLIENT_CORE})  # away from the server; what is started says its own
    names = {name for outcome in outcomes for name in outcome.contenders}
    absent = contenders.missing(names) | load.missing()
    if absent:
        raise SystemExit(f"not installed: {', '.join(sorted(absent))}; as root, `make bench` installs them")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # thousands of connections; servers inherit it


def keep(outcomes: list[Outcome], results: Path, described: dict[str, object]) -> None:
    """Write results and charts of the works that have run."""
    results.mkdir(parents=True, exist_ok=True)
    caption = host.caption(described)
    for outcome in outcomes:
        record = {**outcome.record(), "host": described}
        (results / f"{outcome.name}.json").write_text(json.dumps(record, indent=1) + "\n")
        chart.draw_work(outcome, results / f"{outcome.name}.svg", caption)
    chart.draw_bars(report.load(results), results / "bars.svg")


def main() -> None:
    """Run what the command line asks for."""
    given = parse(sys.argv[1:])
    outcomes = chosen(given.only, quick=given.quick)
    prepare(outcomes)
    usual = QUICK if given.quick else FULL
    pace = Pace(rounds=given.rounds or usual.rounds, seconds=given.seconds or usual.seconds)
    results = given.results or (RESULTS / "quick" if given.quick else RESULTS)
    root = Path(tempfile.mkdtemp(prefix="hmacfs-bench-", dir=os.environ.get("BENCH_DIRECTORY", "/var/tmp")))
    root.chmod(0o755)  # servers that become nobody must read below it
    names = {name for outcome in outcomes for name in outcome.contenders}
    described = host.describe(root, sorted(names), f"python -m benches.run {' '.join(sys.argv[1:])}".strip())
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(host.caption(described), style="dim")
    try:
        where = Folder(root=root)
        where.make()
        with Fleet(where) as fleet:
            session = Session(fleet, pace, traced=not given.quick)
            for number, outcome in enumerate(outcomes):
                with Live(console=console, auto_refresh=False) as live:
                    session.measure(outcome, live)
                console.print()
                keep(outcomes[: number + 1], results, described)
    finally:
        shutil.rmtree(root)
    if results == RESULTS:
        report.main()
    console.print(table.of_bars(outcomes))
    console.print(f"results and charts: {results}", style="dim")


if __name__ == "__main__":
    main()
